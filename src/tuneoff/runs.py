"""A study expanded to runs: each with its settings resolved, known by a hash of its content.

for run in expand(study):
    print(run.run_id, run.label, run.learning_rate)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

from tuneoff import identity
from tuneoff.fit import Inspect, head_of, shape, with_quantization
from tuneoff.settings import Settings
from tuneoff.study import BackboneSpec, Evaluation, MethodSpec, Study, TaskSpec, Training

RateFrom = Literal["study", "method", "probes", "grid"]
_UNNAMED = {"name", "model", "revision"}


class Contest(NamedTuple):
    """What one learning rate is looked for: names in the study."""

    backbone: str
    task: str
    method: str


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
    evaluation: Evaluation = Evaluation()
    seed: int
    learning_rate: float
    rate_from: RateFrom
    """Who chose the rate: the study, the method's default, probes; or the grid, for a probe."""
    device: Literal["cpu", "cuda"]
    data_fingerprint: str
    """Hash of the content of the data, wherever it lies."""
    backbone_fingerprint: str
    """Hash of the backbone's files, or its hub commit."""
    code: str
    """Hash of the package's sources that influence numbers, and of plug-ins in use."""

    @cached_property
    def run_id(self) -> str:
        """16 hex digits over all that decides the result.

        Paths are not in it, their content is. The study's name and who chose the rate are not:
        the same run may serve an extended or renamed study.
        """
        source = self.task.data.source
        more = self.kind == "run" and self.evaluation != Evaluation()
        measured = {"evaluation": self.evaluation.model_dump(mode="json")} if more else {}
        return identity.digest(
            {
                "kind": self.kind,
                "names": list(self.contest),
                "backbone": _without(self.backbone.in_force(), _UNNAMED),
                "backbone_content": self.backbone_fingerprint,
                "task": [self.task.task, self.task.settings.model_dump(mode="json")],
                "metrics": [
                    [name, metric.identity()] for name, metric in self.task.all_metrics.items()
                ],
                "data": self._data_settings(),
                "data_content": [self.data_fingerprint, source.drop_leaked],
                "method": [self.method.method, _resolved(self.method)],
                "training": self.training.in_force(),
                "seed": self.seed,
                "device": self.device,
                "code": self.code,
                **measured,
            }
        )

    def _data_settings(self) -> dict[str, Any]:
        """What is done to the rows; what they are stands in `data_content`."""
        data = self.task.data
        found = data.model_dump(mode="json", exclude={"dataset", "source", "shift"})
        if data.shift:
            found["shift"] = {name: one.columns for name, one in data.shift.items()}
        return found

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; the copy's `run_id` is its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("run_id", None)
        return copy

    @property
    def contest(self) -> Contest:
        """Backbone, task and method by name."""
        return Contest(self.backbone.name, self.task.name, self.method.name)

    @property
    def label(self) -> str:
        """For people: `mini-bert / sst5 / lora / seed 0`."""
        end = f"rate {self.learning_rate:g}" if self.kind == "probe" else f"seed {self.seed}"
        return " / ".join((*self.contest, end))

    def settings(self) -> dict[str, Any]:
        """The `settings` of the run's line in `results.jsonl`: plain, whole, with defaults."""
        task = {"name": self.task.name, "task": self.task.task}
        method = {"name": self.method.name, "method": self.method.method}
        return {
            "method": method | _resolved(self.method),
            "training": self.training.in_force(),
            "backbone": self.backbone.in_force(),
            "task": task
            | self.task.settings.model_dump(mode="json")
            | {
                "metric": self.task.primary_metric,
                "metrics": {
                    name: metric.model_dump(mode="json")
                    for name, metric in self.task.all_metrics.items()
                },
                "data": self.task.data.model_dump(mode="json"),
            },
        }


def _resolved(method: MethodSpec) -> dict[str, Any]:
    """The method's settings as trained: with its rate, and without the grid that led to it."""
    return method.settings.model_dump(mode="json", exclude={"learning_rates"})


def _without(data: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in names}


def expand(
    study: Study, rates: Mapping[Contest, float] | None = None, inspect: Inspect = shape
) -> list[RunSpec]:
    """Every run, method by method, seed by seed.

    rates: learning rates that probes found; where there is none, and the study gives none, the
    method's default for the backbone's kind.

    Raises BackboneError and DataError when a backbone or data cannot be had.
    """
    runs: list[RunSpec] = []
    for base in contests(study, inspect):
        rate = (rates or {}).get(base.contest)
        if rate is not None and base.rate_from != "study":
            base = with_rate(base, rate, "probes")
        runs += [base.model_copy(update={"seed": seed}) for seed in study.seeds]
    return runs


def contests(study: Study, inspect: Inspect = shape) -> list[RunSpec]:
    """One run, with the study's first seed and the rate before any tuning, per contest."""
    device = resolved_device(study.device)
    prints = {task.name: task.data.fingerprint() for task in study.tasks}
    contents = {
        backbone.name: identity.backbone_fingerprint(backbone.model, backbone.revision)
        for backbone in study.backbones
    }
    found = []
    for backbone, task, method, *_ in study.placed():
        kind = inspect(backbone, head_of(backbone, task)).kind
        given = method.settings.learning_rate
        metrics = map(type, task.all_metrics.values())
        sources = [task.data.source, *(one.source for one in task.data.shift.values())]
        parts = (type(method.settings), type(task.settings), *map(type, sources), *metrics)
        run = RunSpec(
            kind="run",
            study=study.name,
            backbone=with_quantization(backbone, method),
            task=task,
            method=method,
            training=study.training_of(method),
            evaluation=study.evaluation,
            seed=study.seeds[0],
            learning_rate=given or method.settings.own_rates(kind).default,
            rate_from="study" if given else "method",
            device=device,
            data_fingerprint=prints[task.name],
            backbone_fingerprint=contents[backbone.name],
            code="-".join([identity.code_version(), *identity.part_code(*parts)]),
        )
        found.append(with_rate(run, run.learning_rate, run.rate_from))
    return found


def with_rate(run: RunSpec, rate: float, rate_from: RateFrom) -> RunSpec:
    """The run with another learning rate."""
    settings = run.method.settings.model_copy(update={"learning_rate": rate})
    method = run.method.model_copy(update={"settings": settings})
    return run.model_copy(update={"method": method, "learning_rate": rate, "rate_from": rate_from})


def resolved_device(device: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """`auto` is the GPU where there is one."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
