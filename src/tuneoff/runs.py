"""A study expanded to runs: each with its settings resolved, known by a hash of its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tuneoff.settings import Settings
from tuneoff.study import BackboneSpec, MethodSpec, Study, TaskSpec, Training

Contest = tuple[str, str, str]
"""(backbone, task, method) names: what one learning rate is looked for."""


class RunSpec(Settings):
    """One training: a backbone, a task, a method setting and a seed; nothing left to decide.

    `method.settings.learning_rate` and `learning_rate` are the same number. `training` is the
    study's with the method's own in place, and `backbone.quantization` is what the method implies.
    """

    kind: Literal["run", "probe"]
    """A probe looks for a learning rate: it is short, and never sees the test split."""
    study: str
    backbone: BackboneSpec
    task: TaskSpec
    method: MethodSpec
    training: Training
    seed: int
    learning_rate: float
    rate_from: Literal["study", "method", "probes", "grid"]
    """Who chose the rate: the study, the method's default, probes; or the grid, for a probe."""
    data_fingerprint: str
    backbone_fingerprint: str
    code: str
    """Hash of the package's sources that influence numbers."""

    @property
    def run_id(self) -> str:
        """16 hex digits over everything above that influences the numbers."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """For people: `mini-bert / sst5 / lora / seed 0`."""
        raise NotImplementedError

    @property
    def contest(self) -> Contest:
        return (self.backbone.name, self.task.name, self.method.name)

    def settings(self) -> dict[str, Any]:
        """The `settings` of its line in `results.jsonl`: method, training, backbone, task."""
        raise NotImplementedError


def expand(study: Study, rates: Mapping[Contest, float] | None = None) -> list[RunSpec]:
    """Every run whose learning rate is known: given, a default (no tuning), or in `rates`."""
    raise NotImplementedError


def expand_probes(study: Study) -> list[RunSpec]:
    """The learning-rate probes: as many for every method that was not given a rate."""
    raise NotImplementedError
