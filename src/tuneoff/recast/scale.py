"""`--scale smoke|small`: a study cut down to what a laptop can run, and said so in its report.

A scale caps rows, steps, batch, seeds, lengths and generated tokens; it never raises any. The
number of steps keeps the order of the epochs (three epochs stay more than one), so that a cell that
trains for longer still does. Precision, quantization, rates and targets stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tuneoff.errors import Problem, StudyError
from tuneoff.registry import nearest
from tuneoff.settings import Settings
from tuneoff.study import Limit, MethodSpec, Study, TaskSpec, Training, Tuning, load_study
from tuneoff.study_cells import Scale


@dataclass(frozen=True)
class Caps:
    """The most of each. rows: of train, validation and test; length: tokens of an input;
    target: tokens of a summary or answer that is learned; new_tokens: generated ones; builtin:
    metrics that ask a model (BERTScore) ask the built-in one."""

    train: int
    validation: int
    test: int
    steps: int
    steps_per_epoch: int
    batch: int
    seeds: int
    length: int
    target: int
    new_tokens: int
    probes: int
    builtin: bool = False


CAPS = {
    "smoke": Caps(64, 16, 24, 10, 3, 4, 1, 96, 16, 10, 2, builtin=True),
    "small": Caps(2000, 300, 300, 300, 100, 32, 1, 192, 48, 48, 3),
}
_LENGTHS = {
    "max_length": "length",
    "max_input_length": "length",
    "max_output_length": "target",
    "max_new_tokens": "new_tokens",
}
_PARTS_OF_LENGTHS = {"doc_stride": 3, "min_new_tokens": 16}
"""Settings that must stay below a length: at most this part of it."""


def scaled(study: Study, scale: str) -> Study:
    """The study at a scale. Raises StudyError for one that is not known."""
    if scale == "full":
        return study
    if scale not in CAPS:
        known = [*CAPS, "full"]
        near = nearest(scale, known) or f"; there are {', '.join(known)}"
        raise StudyError([Problem("--scale", f"{scale!r} is no scale{near}")])
    caps = CAPS[scale]
    cells = tuple(
        cell.model_copy(update={"method": _shorter(study, cell.method, caps)})
        for cell in study.cells
    )
    update = {
        "tasks": tuple(_smaller(task, caps) for task in study.tasks),
        "methods": tuple(_shorter(study, method, caps) for method in study.methods),
        "cells": cells,
        "seeds": study.seeds[: caps.seeds],
        "tuning": _fewer(study.tuning, caps.probes),
        "conditions": study.conditions.model_copy(update={"scale": scale}),
    }
    return load_study(study.model_copy(update=update).written())


def _fewer(tuning: Tuning, probes: int) -> Tuning:
    """At most so many probes; too few to stop some early are all trained to their end."""
    fewer = tuning.model_copy(update={"probes": min(tuning.probes, probes)})
    return fewer.model_copy(update={"halving": None}) if fewer.unused() else fewer


def described(scale: Scale) -> str:
    """`smoke scale: at most 64 training rows, ...`, for the report."""
    caps = CAPS[scale]
    seeds = f"{caps.seeds} seed{'s' * (caps.seeds > 1)}"
    if caps.builtin:
        seeds += ", BERTScore by the built-in encoder"
    return (
        f"{scale} scale: at most {caps.train:,} training and {caps.test:,} test rows, {caps.steps} "
        f"steps of {caps.batch}, {caps.length} tokens, {caps.new_tokens} generated tokens, {seeds}"
    )


def _shorter(study: Study, method: MethodSpec, caps: Caps) -> MethodSpec:
    """The method with training settings of its own that hold to the caps."""
    full = study.training_of(method)
    steps = min(caps.steps, math.ceil(full.epochs * caps.steps_per_epoch))
    if full.max_steps is not None:
        steps = min(caps.steps, full.max_steps)
    given: dict[str, Any] = {"max_steps": steps, "batch_size": min(full.batch_size, caps.batch)}
    if full.micro_batch_size is not None:
        given["micro_batch_size"] = min(full.micro_batch_size, given["batch_size"])
    if full.warmup_steps is not None:
        given["warmup_steps"] = min(full.warmup_steps, steps // 10)
    if isinstance(full.evaluate_every, int):
        given["evaluate_every"] = min(full.evaluate_every, steps)
    own = (method.training or Training()).overridden(Training(**given))
    return method.model_copy(update={"training": own})


def _smaller(task: TaskSpec, caps: Caps) -> TaskSpec:
    """The task with fewer rows and shorter texts."""
    limit = task.data.limit
    rows = {
        split: min(getattr(limit, split) or most, most)
        for split, most in (
            ("train", caps.train),
            ("validation", caps.validation),
            ("test", caps.test),
        )
    }
    data = task.data.model_copy(update={"limit": Limit(**rows)})
    update: dict[str, Any] = {"data": data, "settings": _capped(task.settings, caps)}
    if caps.builtin:
        kept = (
            one for one in task.metric_settings if "encoder" not in one.settings.model_fields_set
        )
        update["metric_settings"] = tuple(kept)
    return task.model_copy(update=update)


def _capped(settings: Any, caps: Caps) -> Any:
    """Settings with every length in them, and in the settings inside them, at most its cap.

    What was not given is capped where it has an effect beside the rest; each is tried again after
    the others, for one length may have to fall before another.
    """
    lower = {
        name: new
        for name in type(settings).model_fields
        if (new := _lower(name, getattr(settings, name), caps)) != getattr(settings, name)
    }
    update = {name: new for name, new in lower.items() if name in settings.model_fields_set}
    for _ in range(2):
        for name, new in lower.items():
            if name not in update and _fits(settings, update | {name: new}):
                update[name] = new
    return settings.model_copy(update=update) if update else settings


def _lower(name: str, value: Any, caps: Caps) -> Any:
    if isinstance(value, Settings):
        return _capped(value, caps)
    if isinstance(value, int) and name in _LENGTHS:
        return min(value, getattr(caps, _LENGTHS[name]))
    if isinstance(value, int) and name in _PARTS_OF_LENGTHS:
        return min(value, caps.length // _PARTS_OF_LENGTHS[name])
    return value


def _fits(settings: Any, update: dict[str, Any]) -> bool:
    """Whether settings may be given beside those that were."""
    written = {
        name: value.model_dump(exclude_unset=True) if isinstance(value, Settings) else value
        for name, value in update.items()
    }
    try:
        type(settings).model_validate(settings.model_dump(exclude_unset=True) | written)
    except ValidationError:
        return False
    return True
