"""Answers of a row, in the forms in which data holds them, and where they stand in the context."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tuneoff.errors import DataError

COLUMNS = ("answers", "answer", "answer_start")


class Answer(NamedTuple):
    """An answer's text, and the character of the context where it begins, if the data says so."""

    text: str
    start: int | None


class Place(NamedTuple):
    """Characters [start, end) of the context; corrected: the data named another place."""

    start: int
    end: int
    corrected: bool


def columns_of(names: Sequence[str]) -> list[str]:
    """The columns that hold a data set's answers: `answers` (as SQuAD has them), or `answer` with
    or without `answer_start`."""
    if "answers" in names:
        return ["answers"]
    return ["answer", *(["answer_start"] if "answer_start" in names else [])]


def answers_of(row: Mapping[str, Any]) -> list[Answer]:
    """The answers of a row, given as its columns; blank ones do not count.

    Raises DataError for a form that is none of `{text: [...], answer_start: [...]}`,
    `[{text: ..., answer_start: ...}]`, a text, or texts.
    """
    if "answers" not in row:
        texts, starts = [row.get("answer")], [row.get("answer_start")]
    else:
        texts, starts = _columns(row["answers"])
    found = []
    for text, start in zip(texts, starts, strict=True):
        if text is not None and str(text).strip():
            found.append(Answer(str(text), _start(start)))
    return found


def place_of(answers: Sequence[Answer], context: str) -> Place | None:
    """Where the first answer that stands in the context does: at its `answer_start` or, where
    something else stands there, at the first place of its text. None where none is in it."""
    for text, start in answers:
        if start is not None and start >= 0 and context.startswith(text, start):
            return Place(start, start + len(text), corrected=False)
        at = context.find(text)
        if at >= 0:
            return Place(at, at + len(text), corrected=start is not None)
    return None


def _columns(value: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError):  # a text that begins with a bracket
            value = json.loads(value)
    if value is None:
        return [], []
    if isinstance(value, Mapping):
        texts = value.get("text")
        texts = [] if texts is None else [texts] if isinstance(texts, str) else list(texts)
        starts = value.get("answer_start")
        listed = starts if isinstance(starts, list) else [starts] * len(texts)
        if len(listed) == len(texts):
            return texts, list(listed)
        raise DataError(f"answers: {len(texts)} texts and {len(listed)} values of answer_start")
    if isinstance(value, list):
        pairs = [one if isinstance(one, Mapping) else {"text": one} for one in value]
        return [one.get("text") for one in pairs], [one.get("answer_start") for one in pairs]
    if isinstance(value, str | int | float):
        return [value], [None]
    raise DataError(
        f"answers: a {type(value).__name__}; allowed are "
        "{text: [...], answer_start: [...]}, a list of such objects or of texts, or a text"
    )


def _start(value: Any) -> int | None:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise DataError(f"answer_start: {value!r} is no whole number") from None
