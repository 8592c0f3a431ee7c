"""The plug-ins that runs hold instances of: a worker imports them before it reads the runs."""

from __future__ import annotations

from collections.abc import Iterable

from tuneoff.running.worker import Parts
from tuneoff.runs import RunSpec
from tuneoff.study import Study


def parts_of(specs: Iterable[RunSpec]) -> Parts:
    """Methods, tasks and datasets of some runs."""
    found: Parts = frozenset()
    for spec in specs:
        found |= {
            ("methods", spec.method.method),
            ("tasks", spec.task.task),
            ("datasets", spec.task.data.dataset),
        }
    return found


def parts_of_study(study: Study) -> Parts:
    """Methods, tasks and datasets of a study."""
    found: Parts = frozenset(("methods", one.method.method) for one in study.placed())
    for task in study.tasks:
        found |= {("tasks", task.task), ("datasets", task.data.dataset)}
    return found
