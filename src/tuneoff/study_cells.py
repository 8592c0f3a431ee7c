"""What a study's cells hold beside backbone, task and method: memory settings of the cell's own,
and what others published for it.

    cells:
      - {backbone: bert, task: sst5, method: full, published: {test: {accuracy: 0.52}, minutes: 35}}

A cell is one backbone, task and method. A study that repeats somebody's experiments lists its cells
one by one, each with its own settings, where a contest of its own crosses all with all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from tuneoff.settings import Settings
from tuneoff.study_parts import known_part

if TYPE_CHECKING:
    from tuneoff.study import BackboneSpec, CellSpec

Dtype = Literal["float32", "bfloat16", "float16"]
Quantization = Literal["none", "nf4", "fp4", "int8"]
Scale = Literal["smoke", "small", "full"]
Chart = Literal["quality", "train_seconds", "peak_memory_bytes", "trainable_parameters"]
Positive = Annotated[float, Field(gt=0)]


class BackboneChanges(Settings):
    """How one cell holds its backbone in memory, where that differs from the backbone's own."""

    dtype: Dtype | None = None
    """Type of the weights that are not quantized."""
    quantization: Quantization | None = None
    """Frozen linear layers in 4 or 8 bits; `qlora` says nf4 by itself."""
    double_quantization: bool | None = None
    """Quantize the 4-bit scales too."""
    compute_dtype: Dtype | None = None
    """Type in which 4-bit weights are multiplied."""
    dequantized_cache_gb: float | None = Field(default=None, ge=0)
    """Gigabytes of dequantized weights to keep."""


class ClassFigures(Settings):
    """Published figures of one class, as shares."""

    precision: float | None = Field(default=None, ge=0, le=1)
    """Precision."""
    recall: float | None = Field(default=None, ge=0, le=1)
    """Recall."""
    f1: float | None = Field(default=None, ge=0, le=1)
    """F1."""


class Published(Settings):
    """What the authors report for a cell. Nothing here has an effect on a run."""

    test: dict[str, float] = Field(default_factory=dict)
    """Metric -> score on the split that the authors judge by and that is our test split."""
    validation: dict[str, float] = Field(default_factory=dict)
    """Metric -> score on the validation (dev) split."""
    unit: Literal["share", "percent"] = "share"
    """How shares are written here: as 0.87 or as 87."""
    per_class: tuple[ClassFigures, ...] = ()
    """Precision, recall and F1 of each class, in the order of the classes; always shares."""
    minutes: Positive | None = None
    """Training time."""
    memory_gb: Positive | None = None
    """Peak memory of training, in gigabytes."""
    trainable_parameters: Positive | None = None
    """Numbers that are trained."""
    trainable_share: float | None = Field(default=None, gt=0, le=1)
    """The same as a share of all parameters."""
    note: str | None = None
    """What a reader must know of these figures."""

    @field_validator("test", "validation")
    @classmethod
    def _known_metrics(cls, figures: dict[str, float]) -> dict[str, float]:
        for name in figures:
            known_part("metrics", name)
        return figures


class Publication(Settings):
    """Where the published figures stand."""

    title: str
    """Its title."""
    authors: str
    """Who wrote it."""
    year: int | None = None
    """Year of it."""
    link: str | None = None
    """Address of the text or its code, where it has one."""
    hardware: str | None = None
    """What the authors trained on."""


class Conditions(Settings):
    """How the runs differ from what the recipe says; written by `--scale`, `--backbone`, `--data`,
    `--fair` and `--set`, and shown at the published figures."""

    scale: Scale = "full"
    """Caps on rows, steps, seeds, lengths and generated tokens; `full` has none."""
    fair: bool = False
    """Rates searched, equal training settings and several seeds, in place of the published."""
    backbones: dict[str, str] = Field(default_factory=dict)
    """Backbone -> the model that the recipe names, where another one was put in its place."""
    data: dict[str, str] = Field(default_factory=dict)
    """Task -> the data that the recipe names, where other data was put in its place."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe that `--set` changed, as they were given."""

    @property
    def differ(self) -> bool:
        """Whether the figures are no reproduction of the published ones."""
        return self != Conditions()


def held(backbone: BackboneSpec, cell: CellSpec) -> BackboneSpec:
    """The backbone as a cell wants it in memory: with what it says, and what its method implies.

    Raises pydantic's ValidationError for a setting that then has no effect.
    """
    given = cell.backbone_settings.model_dump(exclude_none=True) if cell.backbone_settings else {}
    implied = cell.method.settings.quantization
    if implied and backbone.quantization == "none":
        given.setdefault("quantization", implied)
    return type(backbone).model_validate(backbone.model_dump(exclude_unset=True) | given)
