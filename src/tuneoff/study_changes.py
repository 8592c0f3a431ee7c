"""Changes to a study from the command line: `--set training.epochs=1`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuneoff import study_text
from tuneoff.errors import Problem, StudyError
from tuneoff.study_form import Place, dotted, opened


def parse_changes(texts: Sequence[str]) -> dict[str, Any]:
    """`path=value` texts as path -> value, values read as YAML.

    Raises StudyError for a text without `=`.
    """
    changes = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise StudyError(
                [Problem("--set", f"wants PATH=VALUE, e.g. training.epochs=1; got {text!r}")]
            )
        changes[path.strip()] = study_text.value(value)
    return changes


def changed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a study's plain data with values put at dotted paths.

    Mappings on the way are made; raises StudyError for a list item that is not there.
    """
    copy: dict[str, Any] = _copied(data)
    for path, value in changes.items():
        _put(copy, _place(path), value)
    return copy


def _place(path: str) -> Place:
    steps = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in steps)


def _put(data: Any, place: Place, value: Any) -> None:
    current = data
    for depth, step in enumerate(place):
        last = depth == len(place) - 1
        here = dotted(place[: depth + 1])
        if isinstance(step, int):
            if not isinstance(current, list) or step >= len(current):
                raise StudyError([Problem(here, "is not in the study, so it cannot be changed")])
            if not last:
                current[step] = _roomy(str(place[0]), current[step], place[depth + 1])
        elif not isinstance(current, dict):
            raise StudyError([Problem(here, "is below a value that has no settings")])
        elif not last and current.get(step) is None:
            current[step] = {}
        if last:
            current[step] = value
        else:
            current = current[step]


def _roomy(key: str, entry: Any, below: str | int) -> Any:
    """A list's entry in a form that has room for a setting: `lora`, `{lora: {rank: 4}}`."""
    if isinstance(entry, str):
        return {entry: {}} if below == entry else opened(key, entry)
    if isinstance(entry, dict) and len(entry) == 1 and below not in entry:
        ((word, settings),) = entry.items()
        return opened(key, word) | (settings or {})
    return entry


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
