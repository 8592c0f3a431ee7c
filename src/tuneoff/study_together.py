"""Faults of a study's settings that are each right alone, and wrong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tuneoff import study_form
from tuneoff.errors import Problem
from tuneoff.study_cells import held

if TYPE_CHECKING:
    from tuneoff.study import BackboneSpec, CellSpec, MethodSpec, Study


def together(study: Study) -> Iterator[Problem]:
    """Faults of settings that are each right alone."""
    if study.tuning.probes and study.tuning.seed in study.seeds:
        yield Problem(
            "tuning.seed",
            f"must not be one of the study's seeds, or that run is chosen for its luck; "
            f"got {study.tuning.seed}",
        )
    for index, method in enumerate(study.methods):
        yield from _training_problems(study, method, f"methods[{index}]")
        implied = method.settings.quantization
        for number, backbone in enumerate(study.backbones):
            if implied and backbone.quantization not in ("none", implied):
                yield Problem(
                    f"methods[{index}]",
                    f"{method.method} quantizes the backbone to {implied}, and "
                    f"backbones[{number}].quantization is {backbone.quantization}; "
                    f"set that to none or {implied}, or leave {method.method} out",
                )
    backbones = {backbone.name: backbone for backbone in study.backbones}
    for index, cell in enumerate(study.cells):
        if cell.backbone not in backbones:
            continue  # reported where it was folded
        yield from _training_problems(study, cell.method, f"cells[{index}]")
        yield from _held_problems(backbones[cell.backbone], cell, f"cells[{index}]")


def _training_problems(study: Study, method: MethodSpec, path: str) -> Iterator[Problem]:
    try:
        study.training_of(method)
    except ValidationError as error:
        for one in error.errors():
            place = study_form.dotted((path, "training", *one["loc"]))
            yield Problem(place, f"{one['msg']} (together with the study's training settings)")


def _held_problems(backbone: BackboneSpec, cell: CellSpec, path: str) -> Iterator[Problem]:
    """A cell's memory settings that have no effect, or that its method contradicts."""
    try:
        found = held(backbone, cell).quantization
    except ValidationError as error:
        for one in error.errors():
            yield Problem(f"{path}.backbone_settings.{one['loc'][-1]}", one["msg"])
        return
    implied = cell.method.settings.quantization
    if implied and found != implied:
        yield Problem(
            f"{path}.method",
            f"{cell.method.method} quantizes the backbone to {implied}, and the cell's backbone is "
            f"{found}; write lora for LoRA on a backbone of another quantization",
        )
