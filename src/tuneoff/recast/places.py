"""`--backbone NAME=FOLDER` and `--data NAME=FOLDER`: other models and data in a study's places.

tuneoff run imdb-four-methods --backbone roberta-base=models/roberta --data imdb=data/imdb
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneoff import registry
from tuneoff.errors import DataError, Problem, StudyError
from tuneoff.recast.data_files import found
from tuneoff.registry import nearest
from tuneoff.study import BackboneSpec, DataSpec, Study, TaskSpec, load_study
from tuneoff.study_data import ShiftSpec
from tuneoff.study_form import label


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as name -> value. Raises StudyError for one without `=`."""
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise StudyError([Problem(option, f"wants NAME=FOLDER; got {text!r}")])
        given[name.strip()] = value.strip()
    return given


def with_backbones(study: Study, models: Mapping[str, str]) -> Study:
    """The study on other models: folders, built-in names or hub names.

    Raises StudyError for a name that is no backbone of the study, and for a folder that is not
    there.
    """
    known = [backbone.name for backbone in study.backbones]
    problems = [_unknown("--backbone", name, known, "backbone") for name in models]
    if any(problems):
        raise StudyError(filter(None, problems))
    named = dict(study.conditions.backbones)
    backbones = []
    for backbone in study.backbones:
        if backbone.name in models:
            named.setdefault(backbone.name, backbone.model)
            backbone = _moved(backbone, models[backbone.name])
        backbones.append(backbone)
    conditions = study.conditions.model_copy(update={"backbones": named})
    update = {"backbones": tuple(backbones), "conditions": conditions}
    return load_study(study.model_copy(update=update).written())


def _moved(backbone: BackboneSpec, model: str) -> BackboneSpec:
    path = Path(model).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise StudyError(
            [
                Problem(
                    "--backbone",
                    f"{path} holds no config.json; a folder in Hugging Face layout has one beside "
                    "the weights and the tokenizer",
                )
            ]
        )
    place = str(path.absolute()) if path.is_dir() else model
    given = backbone.model_dump(exclude_unset=True, exclude={"revision"})
    return BackboneSpec.model_validate(given | {"model": place})


def with_data(study: Study, places: Mapping[str, str]) -> Study:
    """The study on other data: each task of the name, and what else reads the same data; a further
    test set (`shift`) by its own name.

    A task is also found by the last part of its data's hub name. Raises StudyError for a name that
    is none of these, and DataError for a place with no data, or with other columns than the task
    reads.
    """
    called = {task.name: _names(task) for task in study.tasks}
    names = [name for task in study.tasks for name in (*called[task.name], *task.data.shift)]
    known = list(dict.fromkeys(names))
    problems = [_unknown("--data", name, known, "data") for name in places]
    if any(problems):
        raise StudyError(filter(None, problems))
    sources = {
        name: [task.data.source for task in study.tasks if name in called[task.name]]
        for name in places
    }
    named = dict(study.conditions.data)
    tasks = []
    for index, task in enumerate(study.tasks):
        chosen = [name for name in places if name in called[task.name]] or [
            name for name in places if task.data.source in sources[name]
        ]
        if chosen:
            named.setdefault(task.name, task.data.source.title)
            where = (f"--data {chosen[0]}={places[chosen[0]]}", f"tasks[{index}]")
            task = task.model_copy(update={"data": _data(task, places[chosen[0]], *where)})
        shift = {
            name: _shift(task, name, places[name], f"tasks[{index}]") if name in places else one
            for name, one in task.data.shift.items()
        }
        data = task.data.model_copy(update={"shift": shift})
        tasks.append(task.model_copy(update={"data": data}))
    conditions = study.conditions.model_copy(update={"data": named})
    update = {"tasks": tuple(tasks), "conditions": conditions}
    return load_study(study.model_copy(update=update).written())


def _names(task: TaskSpec) -> list[str]:
    hub = getattr(task.data.source, "name", None)
    return [task.name, *([label(hub)] if isinstance(hub, str) else [])]


def _unknown(option: str, name: str, known: list[str], kind: str) -> Problem | None:
    if name in known:
        return None
    near = nearest(name, known) or f"; it has {', '.join(known)}"
    return Problem(option, f"{name!r} is no {kind} of the study{near}")


def _data(task: TaskSpec, place: str, option: str, path: str) -> DataSpec:
    """The rows of a place, under the recipe's column map where that fits."""
    moved = _moved_source(task, task.data, place, option, f"{path}.data")
    return task.data.model_copy(update=moved)


def _shift(task: TaskSpec, name: str, place: str, path: str) -> ShiftSpec:
    """As `_data`, for a further test set."""
    one, option = task.data.shift[name], f"--data {name}={place}"
    return one.model_copy(
        update=_moved_source(task, one, place, option, f"{path}.data.shift.{name}")
    )


def _moved_source(
    task: TaskSpec, data: DataSpec | ShiftSpec, place: str, option: str, path: str
) -> dict[str, Any]:
    part, settings = found(place)
    kept = data.source.model_dump(include={"on_bad_rows", "drop_leaked"}, exclude_unset=True)
    source = registry.get("datasets", part).model_validate({**kept, **settings})
    rows = source.load()
    there = [
        one
        for one in rows["train" if "train" in rows else "test"].column_names
        if not one.startswith("_")
    ]
    columns = _fitting(task, data.columns, there, option, path)
    return {"dataset": part, "source": source, "columns": columns}


def _fitting(
    task: TaskSpec, columns: Mapping[str, Any], there: Sequence[str], option: str, path: str
) -> dict[str, Any]:
    """The recipe's map where the data has its columns; none where it has the task's own.

    Raises DataError that names the columns, wanted and there.
    """
    label = [task.settings.label] if task.settings.label else []
    theirs = [name for one in columns.values() for name in ([one] if isinstance(one, str) else one)]
    own = list(dict.fromkeys([*columns, *label])) if columns else []
    if columns and all(name in there for name in theirs):
        return dict(columns)
    if columns and all(name in there for name in own):
        return {}
    wanted = theirs or [*task.settings.text_columns(there), *label]
    missing = [name for name in wanted if name not in there]
    if not missing:
        return {}
    ours = next((key for key, one in columns.items() if missing[0] in one), missing[0])
    near = nearest(missing[0], list(there)).removeprefix("; ")
    raise DataError(
        f"{option}: the task {task.name!r} reads the columns {', '.join(wanted)}, and the data has "
        f"{', '.join(there)}{f' ({near})' if near else ''}. Say what each is called, e.g. "
        f"--set {path}.columns.{ours}={there[0]}"
    )
