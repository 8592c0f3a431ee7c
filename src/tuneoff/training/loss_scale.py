"""Loss scaling for fp16, one scale per member, so that one member's overflow is its own.

The rules are those of `torch.amp.GradScaler`: halve on overflow and skip the step, double after
2,000 steps without one.
"""

from __future__ import annotations

from typing import Any

import torch

from tuneoff.training.parameters import Parameters

_GROWTH_STEPS = 2000


class LossScale:
    """A member's loss scale; always 1 when not `enabled`."""

    def __init__(self, enabled: bool):
        self.enabled = enabled
        self.value = 65536.0 if enabled else 1.0
        self.good_steps = 0

    def unscale(self, parameters: Parameters) -> bool:
        """Divide the gradients by the scale; False when they overflowed and the step is skipped."""
        if not self.enabled:
            return True
        parameters.scale_gradients(1.0 / self.value)
        finite = bool(torch.isfinite(parameters.gradient_norm()))
        if not finite:
            self.value, self.good_steps = self.value / 2, 0
            return False
        self.good_steps += 1
        if self.good_steps == _GROWTH_STEPS:
            self.value, self.good_steps = self.value * 2, 0
        return True

    @property
    def exhausted(self) -> bool:
        """True when no scale is small enough: the gradients themselves are not finite."""
        return self.enabled and self.value < 1e-4

    def state(self) -> dict[str, Any]:
        """The state to go on from."""
        return {"value": self.value, "good_steps": self.good_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.value, self.good_steps = state["value"], state["good_steps"]
