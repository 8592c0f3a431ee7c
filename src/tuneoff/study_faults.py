"""Turns what pydantic finds in a study into sentences: what is allowed, what was got, what is near.

Order as in scikit-learn's `sklearn/utils/_param_validation.py`: what, whose, allowed, got.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tuneoff import registry
from tuneoff.errors import Problem, TuneoffError
from tuneoff.registry import nearest
from tuneoff.settings import Settings
from tuneoff.study_form import Form, Place, dotted
from tuneoff.study_parts import SKIPPED

_PARTS: dict[str, tuple[registry.Kind, str]] = {
    "method": ("methods", "settings"),
    "task": ("tasks", "settings"),
    "dataset": ("datasets", "source"),
    "metric": ("metrics", "settings"),
}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping (`key: value`)",
    "mapping": "a mapping (`key: value`)",
    "model": "a mapping (`key: value`)",
    "none": "null",
    "path": "a path",
}
_TYPE_ERRORS = {f"{name}_{end}" for name in _TYPES for end in ("type", "parsing")}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def problems(
    errors: Sequence[Mapping[str, Any]], form: Form, root: type[Settings]
) -> list[Problem]:
    """One problem per faulty place of the form; alternatives of a union are joined by `or`."""
    by_place: dict[Place, list[Mapping[str, Any]]] = {}
    for error in errors:
        if not _follows(error):
            by_place.setdefault(_place(error["loc"], form.data, error["type"]), []).append(error)
    reported = {problem.path for problem in form.problems}
    found = []
    for place, group in by_place.items():
        path = dotted(form.written(place))
        # Of a union, the alternative that the value nearly is speaks deeper inside the value.
        deeper = any(other[: len(place)] == place != other for other in by_place)
        if path not in reported and not deeper:
            found.append(Problem(path, _sentence(place, group, form.data, root)))
    return found


def _follows(error: Mapping[str, Any]) -> bool:
    """True for what pydantic reports only because of another fault."""
    if error["type"] == "too_short":
        # Items that are at fault do not count for pydantic.
        return len(error["input"]) >= int(error["ctx"]["min_length"])
    return bool(error["type"] == SKIPPED)


def _place(location: Sequence[str | int], data: Any, error_type: str) -> Place:
    """Where in the data an error is, without the steps that only name a union's alternative."""
    place: list[str | int] = []
    current: Any = data
    for index, step in enumerate(location):
        last = index == len(location) - 1
        try:
            current = current[step]
            place.append(step)
            continue
        except (KeyError, IndexError, TypeError):
            pass  # a field left out, or the name of a union's alternative
        if _may_be_field(current, step) or (last and error_type == "missing"):
            place.append(step)
            current = None
    return tuple(place)


def _may_be_field(current: Any, step: str | int) -> bool:
    """A step that names no data may still name a field with its default value."""
    return isinstance(current, Mapping) and isinstance(step, str) and step.isidentifier()


def _sentence(place: Place, group: list[Mapping[str, Any]], data: Any, root: type[Settings]) -> str:
    first = group[0]
    kind = first["type"]
    if kind == "missing":
        return "is required and not given"
    if kind == "extra_forbidden":
        return _unknown(place, data, root)
    if kind in ("tuneoff", "value_error", "assertion_error"):
        return str(first["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    allowed = [text for error in group if (text := _allowed(error))]
    if not allowed:
        return f"{first['msg'][0].lower()}{first['msg'][1:]}; got {_shown(first['input'])}"
    choices = [c for error in group for c in _choices(error)]
    got = first["input"]
    near = nearest(got, choices) if isinstance(got, str) else ""
    typed = " (text)" if isinstance(got, str) and not choices and kind in _TYPE_ERRORS else ""
    return f"must be {' or '.join(dict.fromkeys(allowed))}; got {_shown(got)}{typed}{near}"


def _allowed(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        choices = _choices(error)
        return f"one of {', '.join(choices)}" if len(choices) > 1 else f"'{choices[0]}'"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{words} {context[key]:g}"
    if kind == "string_pattern_mismatch":
        return "letters, digits and . _ + -, beginning with a letter or digit"
    if kind == "string_too_long":
        return f"at most {context['max_length']} characters"
    if kind == "too_short":
        return f"at least {context['min_length']} item{'s' * (context['min_length'] > 1)}"
    if kind == "too_long":
        return f"at most {context['max_length']} items"
    if kind == "finite_number":
        return "a finite number"
    if kind == "int_from_float":
        return "a whole number"
    return _TYPES.get(kind.removesuffix("_type").removesuffix("_parsing"), "")


def _choices(error: Mapping[str, Any]) -> list[str]:
    if error["type"] != "literal_error":
        return []
    expected = error["ctx"]["expected"].replace(" or ", ", ")
    return [item.strip("'") for item in expected.split(", ")]


def _shown(value: Any) -> str:
    """A value as YAML would show it, with its type where that is what is wrong."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:60]}...")
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, list(value)[:5])) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return repr(value)


def _unknown(place: Place, data: Any, root: type[Settings]) -> str:
    allowed = sorted(known_fields(place[:-1], data, root))
    word = str(place[-1])
    if not allowed:
        return "is not known: there are no settings here"
    return f"is not known{nearest(word, allowed) or '; known: ' + ', '.join(allowed)}"


def known_fields(place: Place, data: Any, root: type[Settings]) -> list[str]:
    """The keys that a person may write at a place."""
    model: Any = root
    current = data
    names: list[str] = []
    keyed = False
    for step in place:
        if keyed or isinstance(step, int):
            current, keyed = current[step], False
            continue
        part = _part_class(current, step)
        if part is not None:
            names = [name for name in model.model_fields if name != step]
            model = part
        else:
            names = []
            inner = getattr(model, "model_fields", {}).get(step)
            model = _settings_class(inner.annotation) if inner is not None else None
            keyed = inner is not None and typing.get_origin(inner.annotation) is dict
        current = current.get(step) if isinstance(current, Mapping) else None
        if model is None:
            return []
    own = list(model.model_fields) if hasattr(model, "model_fields") else []
    own = [name for name in own if _part_slot(model) != name]
    return own + names


def _part_slot(model: type[BaseModel]) -> str | None:
    for key, (_, slot) in _PARTS.items():
        if key in model.model_fields and slot in model.model_fields:
            return slot
    return None


def _part_class(current: Any, step: str) -> Any:
    """The class of the part whose settings lie at `step`, or None."""
    for key, (kind, slot) in _PARTS.items():
        if step == slot and isinstance(current, Mapping) and isinstance(current.get(key), str):
            try:
                return registry.get(kind, current[key])
            except TuneoffError:
                return None
    return None


def _settings_class(annotation: Any) -> Any:
    """The Settings class inside an annotation (optional, tuple of, by name, ...), else None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list, dict):
        found = map(_settings_class, typing.get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
