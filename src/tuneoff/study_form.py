"""Folds the short forms that people write in a study into the one form of `study.py`.

    full                                    -> {name: full, method: full, settings: {}}
    {lora: {rank: 16}}                      -> {name: lora, method: lora, settings: {rank: 16}}
    {name: qv, method: lora, rank: 16}      -> {name: qv, method: lora, settings: {rank: 16}}

Tasks and data fold alike. Where a value moved is remembered, so that a fault is reported at the
path that the person wrote. Values of a wrong type are left alone: the models report them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tuneoff import registry
from tuneoff.errors import Problem, TuneoffError
from tuneoff.registry import Kind

Place = tuple[str | int, ...]

METHOD_FRAME = frozenset({"name", "training"})
TASK_FRAME = frozenset({"name", "data", "metric", "metrics"})
DATA_FRAME = frozenset({"columns", "split", "limit", "shift"})
SHIFT_FRAME = frozenset({"columns"})


@dataclass
class Form:
    """A study in its one form; `moved` maps a place in `data` to the place that was written."""

    data: dict[str, Any]
    moved: dict[Place, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def written(self, place: Place) -> Place:
        """The place in the person's text of a place in `data`."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.moved:
                return self.moved[place[:length]] + place[length:]
        return place


def dotted(place: Place) -> str:
    """`methods[2].lora.rank`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def fold(written: Mapping[str, Any]) -> Form:
    """The study's one form."""
    form = Form(data={str(key): plain(value) for key, value in written.items()})
    data = form.data
    for index, backbone in _entries(data, "backbones"):
        data["backbones"][index] = _fold_backbone(backbone)
    for index, task in _entries(data, "tasks"):
        data["tasks"][index] = _fold_task(form, ("tasks", index), task)
    for index, method in _entries(data, "methods"):
        place: Place = ("methods", index)
        data["methods"][index] = _fold_part(
            form, place, method, kind="methods", key="method", inner="settings", frame=METHOD_FRAME
        )
    for index, cell in _entries(data, "cells"):
        data["cells"][index] = _fold_cell(form, ("cells", index), cell)
    _check_cells(form)
    if type(data.get("seeds")) is int and 0 < data["seeds"] <= 1000:
        data["seeds"] = list(range(data["seeds"]))
    _find_repeats(form)
    return form


def plain(value: Any) -> Any:
    """Plain data of what Python code may pass: settings objects become what YAML would say."""
    if isinstance(value, BaseModel):
        kind = next((kind for kind in registry.KINDS if _is_part(kind, value)), None)
        given = value.model_dump(mode="json", exclude_unset=True)
        return {kind[:-1]: _part_name(kind, value), **given} if kind else given
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _is_part(kind: Kind, value: BaseModel) -> bool:
    return any(
        base.__module__ == f"tuneoff.{kind}" and base is not type(value)
        for base in type(value).__mro__
    )


def _part_name(kind: Kind, value: BaseModel) -> str:
    stem = type(value).__module__.rpartition(".")[2].removeprefix(f"tuneoff_plugins_{kind}_")
    candidates = sorted(registry.names(kind), key=lambda name: name != stem)
    return next(name for name in candidates if registry.get(kind, name) is type(value))


def _entries(data: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    """The items of a list; one item alone stands for a list of one."""
    if isinstance(data.get(key), str | Mapping):
        data[key] = [data[key]]
    return list(enumerate(data[key])) if isinstance(data.get(key), list) else []


def opened(key: str, word: str) -> dict[str, Any]:
    """A backbone, task or method that is written as one word, as a mapping."""
    if key == "tasks" and word in registry.names("datasets"):
        # A dataset that needs no settings is a task in one word: its texts are classified.
        return {"name": word, "task": "text_classification", "data": {"dataset": word}}
    return {{"backbones": "model", "tasks": "task", "methods": "method"}[key]: word}


def _fold_backbone(written: Any) -> Any:
    if isinstance(written, str):
        written = opened("backbones", written)
    if isinstance(written, Mapping) and isinstance(written.get("model"), str):
        return {"name": label(written["model"]), **written}
    return written


def label(text: str) -> str:
    """A name for tables from a path or a hub name: its last part, odd characters replaced."""
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", last).strip("-._+")[:64] or "model"


def _fold_task(form: Form, place: Place, written: Any) -> Any:
    if isinstance(written, str):
        written = opened("tasks", written)
    folded = _fold_part(
        form, place, written, kind="tasks", key="task", inner="settings", frame=TASK_FRAME
    )
    if isinstance(folded, dict) and "data" in folded:
        inside = form.moved.get((*place, "data"), (*place, "data"))
        folded["data"] = _fold_part(
            form,
            (*place, "data"),
            folded["data"],
            kind="datasets",
            key="dataset",
            inner="source",
            frame=DATA_FRAME,
            written_at=inside,
        )
        if isinstance(folded["data"], dict):
            folded["data"].pop("name", None)
            _fold_shifts(form, (*place, "data"), folded["data"])
    if isinstance(folded, dict):
        _fold_metrics(form, place, folded)
    return folded


def _fold_shifts(form: Form, place: Place, data: dict[str, Any]) -> None:
    """`shift: {tweets: tweets.csv}` -> the data's own source with that as `test`."""
    given = data.get("shift")
    if not isinstance(given, dict):
        return
    data["shift"] = {
        name: _fold_shift(form, (*place, "shift", name), one, data) for name, one in given.items()
    }


def _fold_shift(form: Form, place: Place, written: Any, data: dict[str, Any]) -> Any:
    """A source of its own kind, or the data's with what is given in place."""
    if written is None:
        return None  # the models report it
    here = form.written(place)
    columns = data.get("columns", {})
    alone = isinstance(written, dict) and len(written) == 1
    if isinstance(written, dict) and (
        "dataset" in written or (alone and next(iter(written)) in registry.names("datasets"))
    ):
        folded = _fold_part(
            form, place, written, kind="datasets", key="dataset", inner="source",
            frame=SHIFT_FRAME, written_at=here,
        )  # fmt: skip
        folded.pop("name", None)
        return {"columns": columns, **folded}
    settings = dict(written) if isinstance(written, dict) else {"test": written}
    own = data.get("source")
    source = own if isinstance(own, dict) else {}
    form.moved[(*place, "source")] = here
    form.moved[(*place, "dataset")] = form.written((*place[:-2], "dataset"))
    for key in source.keys() - settings.keys():
        form.moved[(*place, "source", key)] = form.written((*place[:-2], "source", key))
    if not isinstance(written, dict):
        form.moved[(*place, "source", "test")] = here
    kept = settings.pop("columns", columns)
    if not settings:
        why = "names no other rows than the data's own; give its `test`, or another `dataset`"
        form.problems.append(Problem(dotted(here), why))
    found = {"source": {**source, **settings}, "columns": kept}
    return found | {key: data[key] for key in ("dataset",) if key in data}


def _fold_metrics(form: Form, place: Place, task: dict[str, Any]) -> None:
    """`metric: {judge: {samples: 5}}` -> `metric: judge`, and its settings in `metric_settings`."""
    found: list[dict[str, Any]] = []

    def name_of(written: Any, at: Place) -> Any:
        if not isinstance(written, dict):
            return written
        here = form.written(at)
        spec = (*place, "metric_settings", len(found))
        one = _fold_part(
            form, spec, written, kind="metrics", key="metric", inner="settings",
            frame=frozenset(), written_at=here,
        )  # fmt: skip
        if one is None or one["metric"] not in registry.names("metrics"):
            return one and one["metric"]  # where it is named, the fault is reported
        if any(other["metric"] == one["metric"] for other in found):
            form.problems.append(
                Problem(dotted(here), f"{one['metric']!r} has settings twice; leave one out")
            )
        found.append({"metric": one["metric"], "settings": one["settings"]})
        return one["metric"]

    if "metric" in task:
        task["metric"] = name_of(task["metric"], (*place, "metric"))
    if isinstance(task.get("metrics"), list):
        task["metrics"] = [
            name_of(one, (*place, "metrics", index)) for index, one in enumerate(task["metrics"])
        ]
    if found:
        task["metric_settings"] = found


def _fold_cell(form: Form, place: Place, written: Any) -> Any:
    """A cell's own `training` is its method's."""
    if not isinstance(written, dict):
        return written
    cell = {key: value for key, value in written.items() if key != "training"}
    if "method" not in cell:
        return cell | {key: written[key] for key in ("training",) if key in written}
    at = (*place, "method")
    method = _fold_part(
        form, at, cell["method"], kind="methods", key="method", inner="settings", frame=METHOD_FRAME
    )
    if isinstance(cell["method"], str):
        form.moved[(*at, "method")] = at
    cell["method"] = method
    if "training" not in written or not isinstance(method, dict):
        return cell
    if method.get("training") is not None:
        form.problems.append(
            Problem(
                dotted((*place, "training")),
                f"is given here and at {dotted(form.written((*at, 'training')))}; leave one out",
            )
        )
    method["training"] = written["training"]
    form.moved[(*at, "training")] = (*place, "training")
    return cell


def _check_cells(form: Form) -> None:
    """Cells and methods exclude each other; cells name what the study has, each pair once."""
    data = form.data
    if "cells" not in data:
        if data.get("methods") == []:
            form.problems.append(Problem("methods", "must be at least 1 item; got a list of 0"))
        return
    if data.get("methods"):
        why = "cells are given, and both say what runs; leave one of them out"
        form.problems.append(Problem("methods", f"has no effect: {why}"))
    if data["cells"] == []:
        form.problems.append(Problem("cells", "must be at least 1 item; got a list of 0"))
    data.setdefault("methods", [])
    used: dict[str, set[str]] = {"backbone": set(), "task": set()}
    seen: dict[tuple[Any, ...], int] = {}
    for index, cell in _entries(data, "cells"):
        if not isinstance(cell, dict):
            continue
        for key in ("backbone", "task", "fair_task"):
            if isinstance(cell.get(key), str):
                _check_named(form, ("cells", index, key), cell[key], key.removeprefix("fair_"))
                used[key.removeprefix("fair_")].add(cell[key])
        method = cell.get("method")
        name = method.get("name") if isinstance(method, dict) else None
        _once(form, index, (cell.get("backbone"), cell.get("task"), name), seen)
    for key, named in used.items():
        for index, name in _names(data, f"{key}s"):
            if name not in named:
                form.problems.append(
                    Problem(dotted((f"{key}s", index)), f"no cell names {name!r}; leave it out")
                )


def _names(data: dict[str, Any], key: str) -> list[tuple[int, str]]:
    return [
        (index, entry["name"])
        for index, entry in _entries(data, key)
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    ]


def _check_named(form: Form, place: Place, name: str, key: str) -> None:
    known = [one for _, one in _names(form.data, f"{key}s")]
    if name not in known:
        near = registry.nearest(name, known) or f"; it has {', '.join(known) or 'none'}"
        form.problems.append(Problem(dotted(place), f"{name!r} is no {key} of the study{near}"))


def _once(form: Form, index: int, names: tuple[Any, ...], seen: dict[tuple[Any, ...], int]) -> None:
    """A method's name stands once on a backbone and task."""
    if not all(isinstance(name, str) for name in names):
        return
    if names in seen:
        form.problems.append(
            Problem(
                dotted(("cells", index)),
                f"is {names[2]!r} on {names[0]} and {names[1]} as cells[{seen[names]}] is; "
                "give its method a `name` of its own",
            )
        )
    seen.setdefault(names, index)


def _fold_part(
    form: Form,
    place: Place,
    written: Any,
    *,
    kind: Kind,
    key: str,
    inner: str,
    frame: frozenset[str],
    written_at: Place | None = None,
) -> Any:
    """`{key: part, inner: the part's settings, ...frame}`."""
    here = written_at or place
    if isinstance(written, str):
        written = {key: written}
    if not isinstance(written, dict):
        return written
    settings_at = here
    if key not in written:
        if len(written) != 1:
            known = ", ".join(registry.names(kind))
            form.problems.append(
                Problem(
                    dotted(here),
                    f"names no {kind[:-1]}; write `{key}: NAME` beside its settings, or "
                    f"`NAME: {{settings}}` with the settings indented below the name. "
                    f"Got the keys {', '.join(written)}. Known: {known}",
                )
            )
            return None
        ((part, settings),) = written.items()
        settings_at = (*here, part)
        if not isinstance(settings, dict | None):
            return {"name": part, key: part, inner: settings}
        written = {key: part, **(settings or {})}
    part = written[key]
    own = _fields(kind, part)
    outer = {name for name in written if name in frame and name not in own}
    folded = {name: written[name] for name in written if name in outer or name == key}
    if inner in written and inner not in own and isinstance(written[inner], dict):
        folded[inner] = written[inner]
        form.moved[(*place, inner)] = (*settings_at, inner)
    else:
        folded[inner] = {n: v for n, v in written.items() if n not in outer and n != key}
        form.moved[(*place, inner)] = settings_at
    for name in outer:
        form.moved[(*place, name)] = (*settings_at, name)
    form.moved[(*place, key)] = (*here, key) if settings_at == here else settings_at
    return {"name": label(part) if isinstance(part, str) else part, **folded}


def _fields(kind: Kind, part: Any) -> set[str]:
    try:
        return set(registry.get(kind, part).model_fields) if isinstance(part, str) else set()
    except TuneoffError:
        return set()


def _find_repeats(form: Form) -> None:
    for key in ("backbones", "tasks", "methods"):
        seen: dict[str, int] = {}
        for index, entry in _entries(form.data, key):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            if name in seen:
                form.problems.append(
                    Problem(
                        dotted((key, index)),
                        f"is called {name!r} as {key}[{seen[name]}] is; "
                        f"give each a `name` of its own",
                    )
                )
            seen.setdefault(name, index)
    seeds = form.data.get("seeds")
    if isinstance(seeds, list) and len(set(map(str, seeds))) < len(seeds):
        form.problems.append(Problem("seeds", f"must differ from each other; got {seeds}"))
