"""Whether a study's methods fit its backbones: seen on weightless models, before any is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from tuneoff.errors import BackboneError, Problem, StudyError
from tuneoff.study import BackboneSpec, MethodSpec, Study, TaskSpec

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone, BackboneOptions
    from tuneoff.backbones.names import BackboneKind, Head

Inspect = Callable[[BackboneSpec, str], "Backbone"]


def shape(backbone: BackboneSpec, head: str) -> Backbone:
    """The backbone without weights, with a head for the task; made once per process.

    Raises BackboneError when the configuration cannot be had or has no such head.
    """
    from tuneoff.backbones.backbone import BackboneOptions

    return weightless(BackboneOptions(**options(backbone)), head)


@cache
def weightless(loading: BackboneOptions, head: Head, classes: int = 2) -> Backbone:
    """The same for options of loading, the tokens that a task adds among them, and for a number of
    classes."""
    from tuneoff.backbones.backbone import inspect

    return inspect(loading, head, classes)


@cache
def kind_of(backbone: BackboneSpec) -> BackboneKind:
    """Encoder, decoder or encoder-decoder, from the configuration alone.

    Raises BackboneError when it cannot be had.
    """
    from tuneoff.backbones.backbone import BackboneOptions
    from tuneoff.backbones.backbone import kind_of as kind

    return kind(BackboneOptions(**options(backbone)))


@cache
def room_of(backbone: BackboneSpec) -> int | None:
    """Tokens that a text may have; None where positions are relative."""
    from tuneoff.backbones.backbone import BackboneOptions
    from tuneoff.backbones.backbone import room_of as room

    return room(BackboneOptions(**options(backbone)))


def head_of(backbone: BackboneSpec, task: TaskSpec) -> Head:
    """The head that a task grows on a backbone; the configuration is read where that decides."""
    if task.settings.any_backbone:
        return task.settings.head  # type: ignore[return-value]
    return task.settings.head_for(kind_of(backbone))


def _task_problems(place: int, task: TaskSpec, backbone: BackboneSpec) -> list[Problem]:
    """What keeps a task from a backbone; nothing where the task takes any."""
    if task.settings.any_backbone:
        return []
    return [
        Problem(
            f"tasks[{place}].{one.path}".rstrip("."), f"{one.message} (backbone {backbone.name})"
        )
        for one in task.settings.problems(kind_of(backbone))
    ]


def _metric_problems(place: int, task: TaskSpec) -> list[Problem]:
    """What keeps scores from being measured at the end, seen before anything is trained."""
    return [
        Problem(
            f"tasks[{place}].{'metric' if name == task.metric else 'metrics'}", f"{name}: {reason}"
        )
        for name, metric in task.all_metrics.items()
        for reason in metric.problems()
    ]


def options(backbone: BackboneSpec) -> dict[str, Any]:
    """The keyword arguments of `tuneoff.backbones.backbone.BackboneOptions`."""
    return backbone.model_dump(exclude={"name"})


def with_quantization(backbone: BackboneSpec, method: MethodSpec) -> BackboneSpec:
    """The backbone as the method wants it: QLoRA's in 4 bits."""
    implied = method.settings.quantization
    return backbone if implied is None else backbone.model_copy(update={"quantization": implied})


def check_fit(study: Study, source: str = "study", inspect: Inspect = shape) -> None:
    """Raises StudyError with every backbone that cannot be had and every method that cannot be
    put on one."""
    found: list[Problem] = []
    places = {backbone.name: number for number, backbone in enumerate(study.backbones)}
    tasks = {task.name: number for number, task in enumerate(study.tasks)}
    failed: set[str] = set()
    found += [
        one for place, task in enumerate(study.tasks) for one in _metric_problems(place, task)
    ]
    for backbone, task, method, path, _ in study.placed():
        if backbone.name in failed:
            continue
        try:
            problems = _task_problems(tasks[task.name], task, backbone)
            if not problems:
                model = inspect(backbone, head_of(backbone, task))
                problems = _method_problems(path, method, backbone, model)
                problems += _writing_problems(path, method, backbone, task)
        except BackboneError as error:
            problems = [_backbone_problem(places[backbone.name], error)]
            failed.add(backbone.name)
        found += problems
    if found:
        raise StudyError(dict.fromkeys(found), source)


def _backbone_problem(number: int, error: BackboneError) -> Problem:
    """Of the model, or of the setting that the error names first."""
    field, _, rest = str(error).partition(": ")
    if field in BackboneSpec.model_fields:
        return Problem(f"backbones[{number}].{field}", rest)
    return Problem(f"backbones[{number}].model", str(error))


def _writing_problems(
    where: str, method: MethodSpec, backbone: BackboneSpec, task: TaskSpec
) -> list[Problem]:
    """A model that a method has rewritten writes by transformers' `generate`, or not at all."""
    if not (backbone.implementation == "own" and method.settings.alone):
        return []
    if task.settings.generation_for(head_of(backbone, task)) is None:
        return []
    reason = (
        f"{method.method} rewrites the model, and the task {task.name} then has its texts from "
        f"transformers' own generate, which our GPT-2 does without; set implementation of backbone "
        f"{backbone.name} to transformers, or leave {method.method} out"
    )
    return [Problem(where, reason)]


def _method_problems(
    where: str, method: MethodSpec, backbone: BackboneSpec, model: Backbone
) -> list[Problem]:
    """A method says `rank: why`; the path then ends in `rank`."""
    found = []
    for reason in method.settings.problems(model):
        field, colon, rest = reason.partition(": ")
        own = colon and field in type(method.settings).model_fields
        path = f"{where}.{field}" if own else where
        message = rest if own else reason
        found.append(Problem(path, f"{message} (backbone {backbone.name}, method {method.name})"))
    return found
