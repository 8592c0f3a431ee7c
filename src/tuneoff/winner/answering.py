"""A saved model's answers to rows, by the engine's own evaluation: the passes, the reading of spans
and words, and the generation with which runs are tested.

    answerer = Answerer(backbone, hooks, task, classes)
    answerer.answers(features)                # losses, classes, spans
    answerer.answers(features, in_text=True)  # and texts, where the task writes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.sites import Hook
from tuneoff.metrics import Predicted
from tuneoff.study import Training
from tuneoff.tasks import Outputs, Task
from tuneoff.training.evaluation import evaluate, written
from tuneoff.training.features import Features
from tuneoff.training.outcome import Limits, Material
from tuneoff.training.passes import Passes
from tuneoff.winner.scorer import whole_of

_SPLIT = "rows"


@dataclass
class _Carried:
    """What passes read of a member that trains no more."""

    hooks: dict[str, Hook]
    whole: Any
    spec: Any
    lowest_block: int = -1

    def set_training(self, training: bool) -> None:
        for hook in self.hooks.values():
            hook.train(training)


class Answerer:
    """Answers rows with a backbone and trained hooks.

    precision: of the arithmetic, as in the study's `training`; seed: the run's, for texts that are
    drawn; family: another forward in place of the backbone's own, such as one over a model that a
    library loaded.
    """

    def __init__(
        self,
        backbone: Backbone,
        hooks: Mapping[str, Hook],
        task: Task,
        classes: Sequence[str] = (),
        precision: Any = "fp32",
        seed: int = 0,
        family: Any = None,
    ):
        self.task, whole = task, whole_of(hooks)
        for hook in hooks.values():
            hook.to(backbone.device).eval()
        carried: Any = _Carried({} if whole else dict(hooks), whole, SimpleNamespace(seed=seed))
        self.material = Material(backbone, task, {}, tuple(classes))
        training = Training(precision=precision, cache_frozen_prefix=False)
        self.passes = Passes(self.material, [carried], training, Limits())
        if family is not None:
            self.passes.family = family

    @property
    def writes(self) -> bool:
        """Whether answers are generated."""
        return self.material.generation() is not None

    def answers(
        self, features: Features, *, in_text: bool = False, batch_size: int | None = None
    ) -> Predicted:
        """The answers to the rows of some examples, with their losses.

        in_text: write texts too, where the task does; batch_size: most examples at a time.
        """
        self.passes.carry(self.passes.members)
        material = Material(
            self.material.backbone, self.task, {_SPLIT: features}, self.material.classes
        )
        return evaluate(self.passes, material, _SPLIT, in_text, batch_size)[0]

    def texts(self, features: Features, batch_size: int | None = None) -> Predicted:
        """What is written, without a look at losses: new rows have no answers to lose."""
        self.passes.carry(self.passes.members)
        (generated,) = written(self.passes, self.material, features, batch_size)
        nothing = np.zeros(len(features))
        outputs = Outputs(nothing, nothing.astype(np.int64), None, generated)
        classes, tokenizer = self.material.classes, self.material.backbone.tokenizer
        return self.task.answers(outputs, features, classes, tokenizer)
