"""The plug-ins that runs hold instances of: a worker imports them before it reads the runs."""

from __future__ import annotations

from collections.abc import Iterable

from tuneoff.running.worker import Parts
from tuneoff.runs import RunSpec
from tuneoff.study import DataSpec, Study


def parts_of(specs: Iterable[RunSpec]) -> Parts:
    """Methods, tasks and datasets of some runs."""
    found: Parts = frozenset()
    for spec in specs:
        found |= {
            ("methods", spec.method.method),
            ("tasks", spec.task.task),
            *_datasets(spec.task.data),
        }
    return found


def parts_of_study(study: Study) -> Parts:
    """Methods, tasks and datasets of a study."""
    found: Parts = frozenset(("methods", one.method.method) for one in study.placed())
    for task in study.tasks:
        found |= {("tasks", task.task), *_datasets(task.data)}
    return found


def _datasets(data: DataSpec) -> Parts:
    """Those of the data, and of its further test sets."""
    more = (one.dataset for one in data.shift.values())
    return frozenset(("datasets", name) for name in (data.dataset, *more))
