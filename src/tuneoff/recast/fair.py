"""`--fair`: the grid of a published study as a fair contest.

A published study trains each method at rates and for epochs of its own choosing, once. In a fair
contest every method on a backbone and task trains under the same settings, each at the best rate
of its own grid, found by as many probes for each, over several seeds. What a method *is* (rank,
targets, quantization) stays as published.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuneoff.recast.only import of_placed
from tuneoff.study import MethodSpec, Placed, Study, Training, load_study

PROBES = 3
SEEDS = 3
_KEPT = ("micro_batch_size", "gradient_checkpointing")
"""Training settings that change memory and time, and no number that is learned."""


def fair(study: Study) -> Study:
    """The same methods on the same backbones and tasks, under equal rules."""
    tasks = {task.name: task for task in study.tasks}
    placed = []
    for one in study.placed():
        task = tasks[one.cell.fair_task] if one.cell and one.cell.fair_task else one.task
        method = _untuned(one.method)
        cell = one.cell and one.cell.model_copy(
            update={"task": task.name, "fair_task": None, "method": method}
        )
        placed.append(one._replace(task=task, method=method, cell=cell))
    update = {
        "methods": tuple(_untuned(method) for method in study.methods),
        "tuning": study.tuning.model_copy(update={"probes": max(study.tuning.probes, PROBES)}),
        "seeds": study.seeds if len(study.seeds) >= SEEDS else tuple(range(SEEDS)),
        "conditions": study.conditions.model_copy(update={"fair": True}),
    }
    made = study.model_copy(update=update)
    if study.cells:
        made = of_placed(made, _distinct(placed))
    return load_study(made.written())


def _untuned(method: MethodSpec) -> MethodSpec:
    """The method without a rate and without training settings of its own."""
    given = method.settings.model_dump(mode="json", exclude_unset=True, exclude={"learning_rate"})
    training = None
    if method.training is not None:
        kept = method.training.model_dump(exclude_unset=True, include=set(_KEPT))
        training = Training(**kept) if kept else None
    settings = type(method.settings).model_validate(given)
    return method.model_copy(update={"settings": settings, "training": training})


def _distinct(placed: Sequence[Placed]) -> list[Placed]:
    """Cells that differed in rates or training alone are one method; it takes the part's name."""
    groups: dict[str, list[Placed]] = {}
    for one in placed:
        held = one.backbone.model_dump_json(exclude={"dequantized_cache_gb"})
        key = f"{one.task.name} {held} {one.method.method} {one.method.settings!r}"
        groups.setdefault(key, []).append(one)
    first = [group[0] for group in groups.values()]
    names = [(one.backbone.name, one.task.name, one.method.method) for one in first]
    made = []
    for one, group, name in zip(first, groups.values(), names, strict=True):
        if len(group) > 1 and names.count(name) == 1:
            method = one.method.model_copy(update={"name": one.method.method})
            cell = one.cell and one.cell.model_copy(update={"method": method, "published": None})
            one = one._replace(method=method, cell=cell)
        made.append(one)
    return made
