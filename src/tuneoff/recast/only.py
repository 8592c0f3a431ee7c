"""`--only bert,summarization,qlora`: a part of a study by the names of what it crosses.

Words of one kind (two methods) are alternatives, words of different kinds (a backbone and a method)
hold together. `--only` given twice keeps both parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuneoff.errors import Problem, StudyError
from tuneoff.registry import nearest
from tuneoff.study import CellSpec, MethodSpec, Placed, Study

_KINDS = ("cell", "backbone", "task", "method")


def kept(study: Study, texts: Sequence[str]) -> Study:
    """The study with these parts only, in its own order.

    Raises StudyError for a word that names nothing in the study, and when nothing is left.
    """
    groups = [[word.strip() for word in text.split(",") if word.strip()] for text in texts]
    placed = list(study.placed())
    known = {kind: _names(placed, kind) for kind in _KINDS}
    every = list(dict.fromkeys(name for names in known.values() for name in names))
    problems = [
        Problem("--only", f"{word!r} is no method, backbone, task or cell of the study{near}")
        for word in dict.fromkeys(word for group in groups for word in group)
        if word not in every
        for near in [nearest(word, every) or f"; it has {', '.join(every)}"]
    ]
    if problems:
        raise StudyError(problems)
    left = [one for one in placed if any(_matches(one, group, known) for group in groups)]
    if not left:
        asked = " or ".join(", ".join(group) for group in groups)
        raise StudyError([Problem("--only", f"the study has nothing that is {asked} at once")])
    return of_placed(study, left)


def of_placed(study: Study, left: Sequence[Placed]) -> Study:
    """The study with these methods on these backbones and tasks; cells where no cross says it."""
    backbones = {one.backbone.name for one in left}
    tasks = {one.task.name for one in left}
    tasks |= {one.cell.fair_task for one in left if one.cell and one.cell.fair_task}
    methods = {one.method.name for one in left}
    update: dict[str, object] = {
        "backbones": tuple(one for one in study.backbones if one.name in backbones),
        "tasks": tuple(one for one in study.tasks if one.name in tasks),
    }
    if study.cells or len(left) < len(backbones) * len(tasks) * len(methods):
        update |= {"methods": (), "cells": tuple(_cell(one) for one in left)}
    else:
        update["methods"] = tuple(one for one in study.methods if one.name in methods)
    charted = study.model_copy(update=update)
    return charted.model_copy(update={"conditions": _conditions(charted)})


def _conditions(study: Study) -> object:
    """The study's conditions, without what is said of backbones and tasks that are gone."""
    conditions = study.conditions
    backbones = {one.name for one in study.backbones}
    tasks = {one.name for one in study.tasks}
    return conditions.model_copy(
        update={
            "backbones": {k: v for k, v in conditions.backbones.items() if k in backbones},
            "data": {k: v for k, v in conditions.data.items() if k in tasks},
        }
    )


def _cell(one: Placed) -> CellSpec:
    if one.cell is not None:
        return one.cell
    return CellSpec(backbone=one.backbone.name, task=one.task.name, method=one.method)


def _names(placed: Sequence[Placed], kind: str) -> list[str]:
    return list(dict.fromkeys(name for one in placed for name in _called(one, kind)))


def _called(one: Placed, kind: str) -> Iterator[str]:
    """What a person may call it: its name, or the part that it is made by; a task by the first
    words of its name too, so that `sentiment` is `sentiment-512`."""
    part: MethodSpec = one.method
    if kind == "backbone":
        yield one.backbone.name
    elif kind == "method":
        yield from (part.name, part.method)
    elif kind == "task":
        words = one.task.name.split("-")
        yield from ("-".join(words[:count]) for count in range(len(words), 0, -1))
        yield one.task.task
    elif one.cell and one.cell.name:
        yield one.cell.name


def _matches(one: Placed, words: Sequence[str], known: dict[str, list[str]]) -> bool:
    """Each word belongs to the kinds that know it; of every kind that is asked for one must fit."""
    asked: dict[str, set[str]] = {}
    for word in words:
        kind = next(kind for kind in _KINDS if word in known[kind])
        asked.setdefault(kind, set()).add(word)
    return all(wanted & set(_called(one, kind)) for kind, wanted in asked.items())
