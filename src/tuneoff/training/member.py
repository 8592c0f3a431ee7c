"""A member: one run inside a cohort, with everything that is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tuneoff.backbones.new_tokens import hooks_of
from tuneoff.backbones.sites import Hook
from tuneoff.data.batches import order
from tuneoff.runs import RunSpec
from tuneoff.training import optimizers, schedules
from tuneoff.training.loss_scale import LossScale
from tuneoff.training.outcome import Material, Status
from tuneoff.training.parameters import Parameters
from tuneoff.training.streams import Stream
from tuneoff.training.whole import Whole


class Member:
    """Hooks and head, optimizer, schedule, random stream, data order and history of one run."""

    def __init__(self, spec: RunSpec, material: Material):
        self.spec, self.training = spec, spec.training
        backbone = material.backbone
        # The head first, from a generator of its own: all methods of a seed start from one head.
        backbone.fresh_head(torch.Generator().manual_seed(spec.seed))
        generator = torch.Generator().manual_seed(spec.seed + 1)
        method = spec.method.settings
        between = spec.evaluation.repeats > 0
        self.whole = Whole(method, backbone, generator, remember=between) if method.alone else None
        self.hooks: dict[str, Hook] = (
            {} if self.whole else hooks_of(backbone, method.build(backbone, generator))
        )
        self.stream = Stream(spec.seed, backbone.device)
        double = backbone.model.dtype == torch.float64  # only where a reference is computed
        for hook in self.hooks.values():
            hook.to(backbone.device, torch.float64 if double else None)
            for part in hook.modules():
                if isinstance(part, Hook):
                    part.stream = self.stream
        self.lowest_block = min((backbone.sites[name].block for name in self.hooks), default=-1)
        """The block of the lowest trained module, from which on gradients are needed."""
        self.parameters = Parameters({Whole.NAME: self.whole} if self.whole else self.hooks)
        self.optimizer = optimizers.build(self.training, self.parameters, spec.learning_rate)
        self.examples = len(material.features["train"])
        self.steps = schedules.total_steps(self.training, self.examples)
        self.per_epoch = -(-self.examples // self.training.batch_size)
        self.loss_scale = LossScale(enabled=self.training.precision == "fp16")
        self.step = 0
        self.tokens = 0
        self.seconds = {"train": 0.0, "evaluation": 0.0}
        self.history: list[dict[str, Any]] = []
        self.rungs: list[dict[str, Any]] = []
        self.until: int | None = None
        """The step of the rung at which it stops; None trains to the end."""
        self.losses: list[float] = []
        self.best: list[torch.Tensor] | None = None
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.without_better = 0
        self.finished = False
        self.status: Status = "done"
        self.reason: str | None = None
        self._epoch_order: tuple[int, np.ndarray] | None = None

    def batch(self) -> np.ndarray:
        """The examples of the next step."""
        epoch, position = divmod(self.step, self.per_epoch)
        if self._epoch_order is None or self._epoch_order[0] != epoch:
            self._epoch_order = (epoch, order(self.examples, self.spec.seed, epoch))
        size = self.training.batch_size
        return self._epoch_order[1][position * size : (position + 1) * size]

    @property
    def evaluation_due(self) -> bool:
        """Whether the step that was just done is followed by an evaluation."""
        every = self.training.evaluate_every
        if self.step >= self.steps:
            return True
        return self.step % (self.per_epoch if every == "epoch" else every) == 0

    @property
    def at_rung(self) -> bool:
        """Whether the step that was just done is the one of its rung."""
        return self.step == self.until

    @property
    def due(self) -> int:
        """Steps after which it trains no more, as far as is known."""
        if self.finished:
            return self.step
        return self.steps if self.until is None else min(self.until, self.steps)

    def go_on(self, until: int | None) -> None:
        """Train up to a rung (None: to the end), also after having stopped at one before it."""
        self.until = until
        if self.status == "stopped" and not self.at_rung:
            self.finished, self.status, self.reason = False, "done", None

    def stop_at_rung(self) -> None:
        """Leave at a rung; `go_on` takes it back."""
        self.leave(
            "stopped",
            f"stopped at step {self.step} of {self.steps}, a rung from which only the best probes "
            "go on (tuning.halving)",
        )

    def update(self) -> None:
        """One optimizer step from the gathered gradients: unscale, clip, step."""
        optimizers.set_rate(self.optimizer, schedules.factor(self.training, self.step, self.steps))
        if self.loss_scale.unscale(self.parameters):
            if self.training.max_grad_norm is not None:
                norm = self.parameters.gradient_norm()
                limit = self.training.max_grad_norm
                self.parameters.scale_gradients(torch.clamp(limit / (norm + 1e-6), max=1.0))
            self.optimizer.step()
        self.parameters.zero_gradients()
        self.step += 1

    def leave(self, status: Status, reason: str | None = None) -> None:
        """Train no more."""
        self.finished, self.status, self.reason = True, status, reason

    def set_training(self, training: bool) -> None:
        """Dropout inside the hooks on or off."""
        for hook in self.hooks.values():
            hook.train(training)

    def state(self) -> dict[str, Any]:
        """Everything from which training goes on to the same numbers."""
        kept = (
            "step",
            "tokens",
            "seconds",
            "history",
            "rungs",
            "losses",
            "best",
            "best_score",
            "best_step",
            "without_better",
            "finished",
            "status",
            "reason",
        )
        return {
            "run_id": self.spec.run_id,
            "values": self.parameters.snapshot(),
            "optimizer": self.optimizer.state_dict(),
            "stream": self.stream.state(),
            "loss_scale": self.loss_scale.state(),
            **{name: getattr(self, name) for name in kept},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.parameters.restore(state.pop("values"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        self.stream.restore(state.pop("stream"))
        self.loss_scale.restore(state.pop("loss_scale"))
        state.pop("run_id")
        for name, value in state.items():
            setattr(self, name, value)
