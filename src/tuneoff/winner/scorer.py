"""A backbone with trained hooks, and the logits that it gives: the engine's own forward pass.

    scorer = Scorer.of(backbone, method, tensors)
    logits_NC = scorer.logits(features)

Axes: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families import family_of
from tuneoff.backbones.new_tokens import hooks_of
from tuneoff.backbones.padded import Padded
from tuneoff.backbones.sites import Hook
from tuneoff.data.batches import micro_batches
from tuneoff.errors import BackboneError
from tuneoff.methods import Method
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.whole import Whole

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Scorer:
    """Gives logits for examples. precision: of the arithmetic, as in the study's `training`."""

    def __init__(self, backbone: Backbone, hooks: Mapping[str, Hook], precision: str = "fp32"):
        self.backbone, self.hooks, self.precision = backbone, hooks, precision
        self.whole = whole_of(hooks)
        self.family: Any = (
            self.whole.family() if self.whole else family_of(backbone) or Padded(backbone)
        )
        for hook in hooks.values():
            hook.to(backbone.device).eval()

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        method: Method,
        tensors: Mapping[str, Tensor],
        precision: str = "fp32",
    ) -> Scorer:
        """A run's scorer from its tensors, as `Outcome.tensors` has them."""
        hooks = empty_hooks(backbone, method)
        fill(hooks, tensors)
        return cls(backbone, hooks, precision)

    @torch.no_grad()
    def logits(self, features: Features, batch_size: int = 32) -> np.ndarray:
        """(N, C) float32 (float64 on a float64 backbone), in the order of the examples."""
        attach(self.backbone, [] if self.whole else [self.hooks])
        parts, places = [], []
        for indices in micro_batches(np.arange(len(features)), features.lengths, batch_size):
            layout = layouts.build(features, [indices], self.family.reads, self.backbone.device)
            with self._autocast():
                logits = self.family.forward(layout)
            wide = logits if logits.dtype == torch.float64 else logits.float()
            parts.append(wide.cpu().numpy())
            places.append(layout.order)
        if not parts:
            return np.empty((0, self.backbone.config.num_labels), np.float32)
        order = np.argsort(np.concatenate(places), kind="stable")
        found: np.ndarray = np.concatenate(parts)[order]
        return found

    def probabilities(self, features: Features, batch_size: int = 32) -> np.ndarray:
        """(N, C) float64 class probabilities."""
        return softmax(self.logits(features, batch_size))

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = _DTYPES.get(self.precision)
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.backbone.device.type, dtype=dtype)


def whole_of(hooks: Mapping[str, Hook]) -> Whole | None:
    """The rewritten model, where a method made one in place of hooks."""
    found = hooks.get(Whole.NAME)
    return found if isinstance(found, Whole) else None


def empty_hooks(backbone: Backbone, method: Method) -> dict[str, Hook]:
    """The hooks of a method and of the new head, as the engine makes them, not yet trained."""
    if method.alone:
        return {Whole.NAME: Whole(method, backbone, torch.Generator().manual_seed(0))}
    return hooks_of(backbone, method.build(backbone, torch.Generator().manual_seed(0)))


@torch.no_grad()
def fill(hooks: Mapping[str, Hook], tensors: Mapping[str, Tensor]) -> None:
    """Copies trained tensors into hooks.

    Raises BackboneError when a tensor is missing, too many, or of another shape.
    """
    targets = {
        f"{site}::{name}": parameter
        for site, hook in hooks.items()
        for name, parameter in hook.named_parameters()
        if parameter.requires_grad
    }
    faults = [f"{name} is missing" for name in targets.keys() - tensors.keys()]
    faults += [f"{name} belongs to nothing" for name in tensors.keys() - targets.keys()]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(target.shape)}"
        for name, target in targets.items()
        if name in tensors and tensors[name].shape != target.shape
    ]
    if faults:
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise BackboneError(
            f"the saved tensors do not fit the method and the backbone: "
            f"{'; '.join(sorted(faults)[:4])}{more}. They need the very settings and backbone of "
            "the run that they come from"
        )
    for name, target in targets.items():
        target.copy_(tensors[name])


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    """(N, C) probabilities, in float64."""
    wide = logits_NC.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return found
