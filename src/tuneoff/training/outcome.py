"""What goes into a cohort's training, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tuneoff.training.features import Features
from tuneoff.training.generation import BATCH_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.runs import RunSpec
    from tuneoff.study import TaskSpec
    from tuneoff.tasks import Task
    from tuneoff.training.generation import Generation
    from tuneoff.training.prefix import PrefixCache

EVALUATION_TOKENS = 4096
"""Tokens read at a time in evaluation, all members together: memory against speed."""

Status = Literal["done", "diverged", "failed", "over_budget", "stopped"]


@dataclass
class Prefixes:
    """A frozen prefix's states by split, kept from one cohort to the next on the same material as
    long as these enter the model at the same place."""

    key: Any = None
    states: dict[str, PrefixCache] = field(default_factory=dict)

    def at(self, key: Any) -> dict[str, PrefixCache]:
        """The states for a place; those of another one are let go."""
        if key != self.key:
            self.key, self.states = key, {}
        return self.states


@dataclass(frozen=True)
class Material:
    """What every member of a cohort stands on: the loaded backbone, the task, the encoded splits
    (`train`; `validation`, `test`, `shift:NAME` where there are any) and the classes' names."""

    backbone: Backbone
    task: Task
    features: Mapping[str, Features]
    classes: tuple[str, ...]
    prefixes: Prefixes = field(default_factory=Prefixes, compare=False, repr=False)

    def generation(self) -> Generation | None:
        """How answers are generated; None where they are not."""
        return self.task.generation_for(self.backbone.head)

    def selection_metric(self, task: TaskSpec) -> str:
        """The metric by which checkpoints, rates and seeds are chosen on the validation split."""
        return task.selection_metric(self.backbone.head)


@dataclass(frozen=True)
class Limits:
    """What a cohort may use. micro_batch_tokens: most tokens in one forward pass, all members
    together (None: a whole batch); evaluation_tokens, generation_tokens: the same for evaluation,
    and for the caches of generation; seconds: training time of each run; checkpoint_seconds: how
    often the state is saved; prefix_cache_bytes: memory for states of a frozen prefix, beyond
    which it lies in a memory-mapped file."""

    micro_batch_tokens: int | None = None
    evaluation_tokens: int = EVALUATION_TOKENS
    generation_tokens: int = BATCH_TOKENS
    seconds: float | None = None
    checkpoint_seconds: float = 30.0
    prefix_cache_bytes: int = 2 << 30


@dataclass(frozen=True)
class Stage:
    """A part of the training of probes that are stopped early (`halving.py`). until: the step of
    the rung at which they are scored and stop (None: none, they train to their end); states: files
    of each member's state at a rung, in the specs' order, to go on from and to leave behind."""

    until: int | None = None
    states: Sequence[Path] = ()


@dataclass(frozen=True)
class Progress:
    """A sign of life: steps done and due over all members still training, the last losses, and in
    words what is done after the last step."""

    steps_done: int
    steps_due: int
    losses: Mapping[str, float]
    stage: str = ""


Report = Callable[[Progress], None]


@dataclass
class Outcome:
    """One member's result. `predictions` are the ledger's columns, validation and test together;
    `tensors` are the trained parameters of the chosen checkpoint as `<site>::<parameter>`."""

    spec: RunSpec
    status: Status
    reason: str | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    metric_details: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How scores were measured, by metric: signatures, models, counts; of the test split."""
    interpolation: list[dict[str, Any]] = field(default_factory=list)
    """`{"alpha": 0.5, "metrics": {split: {metric: score}}}` at each place that the study names."""
    predictions: dict[str, np.ndarray] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    rungs: list[dict[str, Any]] = field(default_factory=list)
    """`{"step": 12, "validation": {metric: score}}` at each rung of a probe."""
    best_step: int | None = None
    steps: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    trainable_parameters: int = 0
    train_seconds: float = 0.0
    """Its share of the cohort's training time, by tokens."""
    evaluation_seconds: float = 0.0
    tokens: int = 0
    """Real tokens trained on."""
    notes: list[str] = field(default_factory=list)
