"""What a person writes: backbones x tasks x methods x seeds, with training settings and a budget.

    study = load_study("study.yaml")
    study = Study(backbones=["mini-bert"], tasks=["synthetic"], methods=["full", "lora"])

The models below are the canonical form. `study_form.py` folds the short forms that people write
(`full`, `{lora: {rank: 16}}`) into it; `study_faults.py` turns what pydantic finds into our
sentences. Every fault is reported at once, and nothing is loaded before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from tuneoff import recipes, registry, study_faults, study_form, study_text
from tuneoff.backbones.names import Head, whole_path
from tuneoff.errors import Problem, StudyError
from tuneoff.methods import Method
from tuneoff.metrics import Metric
from tuneoff.settings import Settings
from tuneoff.study_cells import (
    BackboneChanges,
    Chart,
    Conditions,
    Dtype,
    Publication,
    Published,
    Quantization,
    held,
)
from tuneoff.study_changes import changed
from tuneoff.study_data import DataSpec, ShiftSpec
from tuneoff.study_parts import known_part, part_settings
from tuneoff.study_settings import (
    Budget,
    Comparison,
    Evaluation,
    Group,
    Limit,
    Split,
    Training,
    Tuning,
)
from tuneoff.study_together import together
from tuneoff.study_written import written
from tuneoff.tasks import Task

__all__ = [
    "BackboneSpec",
    "Budget",
    "CellSpec",
    "Comparison",
    "Conditions",
    "DataSpec",
    "Evaluation",
    "Limit",
    "MethodSpec",
    "Placed",
    "Publication",
    "Published",
    "ShiftSpec",
    "Split",
    "Study",
    "TaskSpec",
    "Training",
    "Tuning",
    "load_study",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]


class BackboneSpec(Group):
    """A pretrained model, and how it is held in memory."""

    name: Name
    """Its name in tables."""
    model: str
    """A built-in name (`mini-bert`), a folder, or a Hugging Face hub name."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; the hub's default when not given."""
    implementation: Literal["transformers", "own"] = "transformers"
    """`own`: tuneoff's own model in place of transformers', with the same weights; GPT-2 alone."""
    dtype: Dtype = "float32"
    """Type of the weights that are not quantized. Fine-tuning all of them wants float32."""
    quantization: Quantization = "none"
    """Frozen linear layers in 4 bits (`nf4`, `fp4`) or 8 (`int8`), by bitsandbytes."""
    double_quantization: bool = True
    """Quantize the 4-bit scales too. Source: QLoRA, arXiv 2305.14314, section 3."""
    compute_dtype: Dtype = "float32"
    """Type in which 4-bit weights are multiplied; QLoRA's scripts use bfloat16 on GPUs."""
    dequantized_cache_gb: float | None = Field(default=None, ge=0)
    """Gigabytes of dequantized weights to keep, bit-equal and faster; null lets the plan choose."""
    new_cross_attention: Literal["trained", "frozen"] = "trained"
    """What becomes of the cross-attention that an encoder gets where it writes texts (bert2bert):
    every method trains it, or it stays as it was drawn, the same for all runs."""

    @field_validator("model")
    @classmethod
    def _find_folder(cls, model: str, info: ValidationInfo) -> str:
        """A folder as its whole path; a relative one starts at the study file."""
        return whole_path(model, (info.context or {}).get("folder"))

    def unused(self) -> dict[str, str]:
        four_bit = self.quantization in ("nf4", "fp4")
        reasons: dict[str, str] = {}
        if not four_bit:
            why = f"4-bit weights only, and quantization is {self.quantization}"
            reasons |= dict.fromkeys(
                ("double_quantization", "compute_dtype", "dequantized_cache_gb"), why
            )
        return reasons

    def in_force(self) -> dict[str, Any]:
        """As any group's; transformers' model is what every run had before there was another."""
        data = super().in_force()
        if self.implementation == "transformers":
            del data["implementation"]
        return data


class MetricSpec(Settings):
    """A metric with its settings."""

    metric: str
    """A metric part, e.g. `bertscore_f1`."""
    settings: SerializeAsAny[Metric]
    """The metric part's own settings; in YAML they stand below its name."""

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        return known_part("metrics", name)

    @field_validator("settings", mode="plain")
    @classmethod
    def _read_settings(cls, value: Any, info: ValidationInfo) -> Any:
        return part_settings("metrics", "metric", value, info)


class TaskSpec(Settings):
    """What the model is asked to do, on which data, judged by which metric."""

    name: Name
    """Its name in tables."""
    task: str
    """A task part, e.g. `text_classification`."""
    settings: SerializeAsAny[Task]
    """The task part's own settings; in YAML they stand beside `task`."""
    data: DataSpec
    """Its rows."""
    metric: str | None = None
    """The metric that methods are compared by; the task's first when not given."""
    metrics: tuple[str, ...] | None = None
    """All metrics that are reported; the task's own list when not given."""
    metric_settings: tuple[MetricSpec, ...] = ()
    """Settings of metrics; in YAML they stand below a metric's name, in `metric` or `metrics`."""

    @field_validator("task")
    @classmethod
    def _known(cls, name: str) -> str:
        return known_part("tasks", name)

    @field_validator("settings", mode="plain")
    @classmethod
    def _read_settings(cls, value: Any, info: ValidationInfo) -> Any:
        return part_settings("tasks", "task", value, info)

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str | None) -> str | None:
        return name if name is None else known_part("metrics", name)

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names if names is None else tuple(known_part("metrics", name) for name in names)

    @property
    def primary_metric(self) -> str:
        """The metric that methods are compared by."""
        return self.metric or (self.metrics or self.settings.metrics)[0]

    def selection_metric(self, head: Head) -> str:
        """The metric by which checkpoints, rates and seeds are chosen on the validation split: the
        primary one; `loss` where that one would need answers to be generated, or another model."""
        metric = registry.get("metrics", self.primary_metric)
        generates = self.settings.generation_for(head) is not None
        late = metric.at_the_end or (metric.needs == "texts" and generates)
        return "loss" if late else self.primary_metric

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """Every reported metric with its settings by name, the primary one first."""
        given = {one.metric: one.settings for one in self.metric_settings}
        names = (self.primary_metric, *(self.metrics or self.settings.metrics))
        return {name: given.get(name) or registry.get("metrics", name)() for name in names}


class MethodSpec(Settings):
    """A method with its settings, and training settings of its own where it needs them."""

    name: Name
    """Its name in tables."""
    method: str
    """A method part, e.g. `lora`."""
    settings: SerializeAsAny[Method]
    """The method part's own settings; in YAML they stand beside `method`."""
    training: Training | None = None
    """Training settings that differ from the study's."""

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        return known_part("methods", name)

    @field_validator("settings", mode="plain")
    @classmethod
    def _read_settings(cls, value: Any, info: ValidationInfo) -> Any:
        return part_settings("methods", "method", value, info)


class CellSpec(Settings):
    """One backbone, task and method of a study that lists them one by one."""

    name: Name | None = None
    """A name to pick it by, where backbone, task and method do not say enough."""
    backbone: str
    """The name of one of the study's backbones."""
    task: str
    """The name of one of the study's tasks."""
    method: MethodSpec
    """The method, as in `methods`; its name must differ from others' on this backbone and task."""
    backbone_settings: BackboneChanges | None = None
    """How the backbone is held in memory, where it differs."""
    fair_task: str | None = None
    """The task that the cell competes on in a fair contest (`--fair`); its own when not given."""
    published: Published | None = None
    """What others report for it."""


class Placed(NamedTuple):
    """One method on one backbone and task; `path` is where it stands in the study."""

    backbone: BackboneSpec
    task: TaskSpec
    method: MethodSpec
    path: str
    cell: CellSpec | None = None


class Study(Settings):
    """A whole study. Raises StudyError with every fault when it cannot be run."""

    name: Name = "study"
    """Its name in the report, and of the results folder."""
    backbones: tuple[BackboneSpec, ...] = Field(min_length=1)
    """Pretrained models."""
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    """What they are asked to do, on which data."""
    methods: tuple[MethodSpec, ...]
    """What competes: every method, on every backbone and task."""
    cells: tuple[CellSpec, ...] = ()
    """What runs, one by one, in place of `methods`."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """The seeds, or how many (from 0 on)."""
    training: Training = Training()
    """How every run is trained."""
    tuning: Tuning = Tuning()
    """How each method's learning rate is found."""
    budget: Budget = Budget()
    """What the study may use."""
    evaluation: Evaluation = Evaluation()
    """What is measured beside each run's own scores."""
    comparison: Comparison = Comparison()
    """How the verdict is reached."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is the GPU where there is one."""
    publication: Publication | None = None
    """Where the cells' published figures stand."""
    charts: tuple[Chart, ...] = ()
    """Bar charts that the report draws over all cells, the published figures beside ours."""
    conditions: Conditions = Conditions()
    """How the runs differ from what the recipe says."""

    def __init__(self, **written: Any) -> None:
        _fill(self, written, folder=Path.cwd(), source="study", text=None)

    def training_of(self, method: MethodSpec) -> Training:
        """The study's training settings with the method's own in place."""
        return self.training.overridden(method.training)

    def placed(self) -> Iterator[Placed]:
        """Every method on every backbone and task; or the cells, in their order."""
        if not self.cells:
            for backbone in self.backbones:
                for task in self.tasks:
                    for index, method in enumerate(self.methods):
                        yield Placed(backbone, task, method, f"methods[{index}]")
            return
        backbones = {backbone.name: backbone for backbone in self.backbones}
        tasks = {task.name: task for task in self.tasks}
        for index, cell in enumerate(self.cells):
            backbone, path = held(backbones[cell.backbone], cell), f"cells[{index}].method"
            yield Placed(backbone, tasks[cell.task], cell.method, path, cell)

    def written(self) -> dict[str, Any]:
        """Plain data as a person would write it; `load_study` makes the same study of it."""
        return written(self)


def load_study(
    source: str | Path | Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> Study:
    """The study of a YAML file, of a recipe's name, or of plain data.

    changes: dotted path -> value, put in before anything is checked, e.g. `{"training.epochs": 1}`.
    Paths in a file are relative to its folder. Raises StudyError with every fault.
    """
    study = Study.__new__(Study)
    if isinstance(source, Mapping):
        source = changed(source, changes or {})
        _fill(study, source, folder=Path.cwd(), source="study", text=None)
        return study
    path = recipes.find(source)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise StudyError([Problem("", f"cannot be read: {reason}")], str(source)) from None
    text = study_text.read(content, str(source))
    data = changed(text.data, changes or {})
    _fill(study, data, folder=path.parent.absolute(), source=str(source), text=text)
    return study


def _fill(
    study: Study,
    written: Mapping[str, Any],
    *,
    folder: Path,
    source: str,
    text: study_text.Text | None,
) -> None:
    """Validate in JSON mode: strict about types, yet lists may become tuples."""
    form = study_form.fold(written)
    found: list[Problem] = list(form.problems)
    try:
        study.__pydantic_validator__.validate_json(
            json.dumps(form.data, default=repr),
            strict=True,
            context={"folder": folder},
            self_instance=study,
        )
    except ValidationError as error:
        found += study_faults.problems(error.errors(include_url=False), form, Study)
    else:
        found += together(study)
    if text is not None:
        found = text.in_order(text.problems + found)
    if found:
        raise StudyError(found, source)
