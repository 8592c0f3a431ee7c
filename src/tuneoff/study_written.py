"""A study as a person would write it: plain data that `load_study` makes the same study of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneoff.study import CellSpec, MethodSpec, ShiftSpec, Study, TaskSpec

_LEFT_OUT = ("cells", "publication", "charts", "conditions", "evaluation")
"""Keys that are not written where they hold their default."""


def written(study: Study) -> dict[str, Any]:
    """The study as plain JSON data."""
    data = study.model_dump(mode="json")
    data["backbones"] = [backbone.in_force() for backbone in study.backbones]
    data["tasks"] = [_task(task) for task in study.tasks]
    data["methods"] = [_method(method) for method in study.methods]
    data["cells"] = [_cell(cell) for cell in study.cells]
    data["training"] = study.training.in_force()
    for key in _LEFT_OUT:
        if getattr(study, key) == type(study).model_fields[key].default:
            del data[key]
    if study.cells:
        del data["methods"]
    return data


def _task(task: TaskSpec) -> dict[str, Any]:
    data = task.data
    source = data.source.model_dump(mode="json", exclude_unset=True)
    left_out = {"dataset", "source", "shift"}
    frame = data.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    if data.shift:
        frame["shift"] = {name: _shift(one) for name, one in data.shift.items()}
    given = task.settings.model_dump(mode="json", exclude_unset=True)
    judged = _metrics(task)
    data_written = {"dataset": data.dataset, **source, **frame}
    return {"name": task.name, "task": task.task, **given, **judged, "data": data_written}


def _shift(shift: ShiftSpec) -> dict[str, Any]:
    source = shift.source.model_dump(mode="json", exclude_unset=True)
    columns = shift.model_dump(mode="json", include={"columns"})
    return {"dataset": shift.dataset, **source, **columns}


def _metrics(task: TaskSpec) -> dict[str, Any]:
    """`metric` and `metrics`; the settings of each stand where it is named first."""
    settings = {
        one.metric: one.settings.model_dump(mode="json", exclude_unset=True)
        for one in task.metric_settings
    }

    def form(name: str) -> Any:
        return {name: settings.pop(name)} if name in settings else name

    judged: dict[str, Any] = {}
    if task.metric is not None:
        judged["metric"] = form(task.metric)
    if task.metrics is not None:
        judged["metrics"] = [form(name) for name in task.metrics]
    return judged


def _method(method: MethodSpec) -> dict[str, Any]:
    given = method.settings.model_dump(mode="json", exclude_unset=True)
    data = {"name": method.name, "method": method.method, **given}
    if method.training is not None:
        data["training"] = method.training.model_dump(mode="json", exclude_unset=True)
    return data


def _cell(cell: CellSpec) -> dict[str, Any]:
    data = cell.model_dump(mode="json", exclude_none=True, exclude={"method", "published"})
    data["method"] = _method(cell.method)
    if cell.published is not None:
        data["published"] = cell.published.model_dump(mode="json", exclude_defaults=True)
    return data
