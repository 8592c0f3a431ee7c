"""What there is to put in a study: parts, recipes and built-in backbones, with their settings."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from tuneoff import recipes, registry
from tuneoff.backbones.names import builtin_names, folder_of
from tuneoff.errors import TuneoffError
from tuneoff.settings import Settings

KINDS = (*registry.KINDS, "recipes", "backbones")


@dataclass(frozen=True)
class Setting:
    """One setting of a part. default is None where it must be given (`required`)."""

    name: str
    type: str
    default: Any
    required: bool
    about: str


@dataclass(frozen=True)
class Entry:
    """One thing that a study may name. `text`: its documentation, or a recipe's YAML."""

    kind: str
    name: str
    summary: str
    text: str
    settings: tuple[Setting, ...] = ()
    rates: dict[str, dict[str, Any]] | None = None


def names(kind: str) -> list[str]:
    """The sorted names of a kind, without importing anything."""
    if kind == "recipes":
        return recipes.names()
    return builtin_names() if kind == "backbones" else registry.names(kind)  # type: ignore[arg-type]


def summaries(kind: str) -> dict[str, str]:
    """Name -> what it is in a sentence; why not, for a plug-in that cannot be loaded."""
    found = {}
    for name in names(kind):
        try:
            found[name] = entry(kind, name).summary
        except TuneoffError as error:
            found[name] = f"cannot be used: {error}"
    return found


def find(name: str) -> list[Entry]:
    """Everything of that name; `kind/name` says which. Raises TuneoffError when there is none."""
    kind, slash, short = name.rpartition("/")
    found = [
        entry(one, short)
        for one in KINDS
        if short in names(one) and (not slash or one.startswith(kind))
    ]
    if not found:
        known = sorted({one for kind in KINDS for one in names(kind)})
        raise TuneoffError(
            f"there is no {name!r}{registry.nearest(short, known) or '.'} See `tuneoff list`"
        )
    return found


def entry(kind: str, name: str) -> Entry:
    """One thing, with all that is known about it."""
    if kind == "recipes":
        text = recipes.find(name).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("# ")]
        return Entry(kind, name, lines[0].lstrip("# ") if lines else "", text)
    if kind == "backbones":
        return _backbone(name)
    part = registry.get(kind, name)  # type: ignore[arg-type]
    module = inspect.getdoc(sys.modules[part.__module__]) or inspect.getdoc(part) or ""
    summary = (inspect.getdoc(part) or module).partition("\n")[0]
    rates = getattr(part, "rates", None)
    return Entry(
        kind,
        name,
        summary,
        module,
        settings_of(part),
        rates and {key: {"default": r.default, "grid": list(r.grid)} for key, r in rates.items()},
    )


def settings_of(part: type[Settings]) -> tuple[Setting, ...]:
    """A part's settings with types as a person would say them."""
    schema = part.model_json_schema()
    found = []
    for name, field in part.model_fields.items():
        described = schema["properties"][name]
        default = field.get_default(call_default_factory=False)
        required = default is PydanticUndefined and field.default_factory is None
        about = " ".join((field.description or "").split())
        shown = described.get("default")
        found.append(Setting(name, _type(described, schema), shown, required, about))
    return tuple(found)


def _type(described: dict[str, Any], schema: dict[str, Any]) -> str:
    """A JSON Schema in words: `number > 0`, `one of a, b`, `text or list`."""
    if "$ref" in described:
        return _type(schema["$defs"][described["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in described:
        return " or ".join(dict.fromkeys(_type(one, schema) for one in described["anyOf"]))
    if "enum" in described:
        return "one of " + ", ".join(map(str, described["enum"]))
    if "const" in described:
        return str(described["const"])
    words = {
        "integer": "whole number",
        "string": "path" if described.get("format") == "path" else "text",
        "boolean": "true or false",
        "array": "list",
        "object": "mapping",
    }
    word = words.get(described.get("type", ""), described.get("type", "any"))
    bounds = {
        "exclusiveMinimum": ">",
        "minimum": ">=",
        "exclusiveMaximum": "<",
        "maximum": "<=",
    }
    limits = [f"{sign} {described[key]:g}" for key, sign in bounds.items() if key in described]
    return " ".join([word, " and ".join(limits)]).strip()


def _backbone(name: str) -> Entry:
    folder = folder_of(name)
    card = folder / "README.md" if folder else None
    text = card.read_text(encoding="utf-8") if card and card.is_file() else ""
    if text.startswith("---"):
        text = text.split("---", 2)[-1].strip()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return Entry("backbones", name, lines[0] if lines else "", text)
