"""Validates the settings of a registered part (a method, task, dataset, metric) inside a study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from tuneoff import registry
from tuneoff.errors import TuneoffError
from tuneoff.settings import Settings
from tuneoff.study_form import Place

SKIPPED = "tuneoff_skipped"
"""Type of an error that follows from another one, which is reported already."""


def fault(message: str) -> PydanticCustomError:
    """One sentence of ours, as an error of pydantic."""
    return PydanticCustomError("tuneoff", "{message}", {"message": message})


def faults(messages: Mapping[Place, str]) -> ValidationError:
    """Several sentences at their places below the model that raises them."""
    lines = [
        InitErrorDetails(type=fault(message), loc=place, input=None)
        for place, message in messages.items()
    ]
    return ValidationError.from_exception_data("study", lines)


def known_part(kind: registry.Kind, name: str) -> str:
    """The name, or a fault that names the nearest part."""
    names = registry.names(kind)
    if name not in names:
        near = registry.nearest(name, names) or f"; known: {', '.join(names)}"
        raise fault(f"{name!r} is not a {kind[:-1]}{near}")
    return name


def part_settings(kind: registry.Kind, key: str, value: Any, info: ValidationInfo) -> Any:
    """`value` as the settings of the part that stands at `key`, checked by the part's own class."""
    name = info.data.get(key)
    if name is None:
        raise PydanticCustomError(SKIPPED, "its part is not known")
    try:
        part: type[Settings] = registry.get(kind, name)
    except TuneoffError as error:
        raise fault(str(error)) from None
    if isinstance(value, part):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("mapping_type", "must be a mapping")
    settings = part.model_validate_json(
        json.dumps(value, default=repr), strict=True, context=info.context
    )
    return _with_paths(settings, (info.context or {}).get("folder"))


def _with_paths(settings: Settings, folder: Path | None) -> Settings:
    """Paths made absolute (below the study's folder); those that lead nowhere are faults."""
    if folder is None:
        return settings
    missing: dict[Place, str] = {}
    changed: dict[str, Any] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, Path):
            changed[name] = _absolute(value, folder, (name,), missing)
        elif isinstance(value, list | tuple) and any(isinstance(item, Path) for item in value):
            changed[name] = type(value)(
                _absolute(item, folder, (name, index), missing) for index, item in enumerate(value)
            )
        elif isinstance(value, Mapping) and any(isinstance(v, Path) for v in value.values()):
            changed[name] = {
                key: _absolute(item, folder, (name, str(key)), missing)
                for key, item in value.items()
            }
    if missing:
        raise faults(missing)
    return settings.model_copy(update=changed) if changed else settings


def _absolute(path: Path, folder: Path, place: Place, missing: dict[Place, str]) -> Path:
    whole = folder / path.expanduser()
    if any(character in str(path) for character in "*?["):
        if not any(whole.parent.glob(whole.name)):
            missing[place] = f"matches no file: {whole}"
    elif not whole.exists():
        names = [entry.name for entry in whole.parent.iterdir()] if whole.parent.is_dir() else []
        missing[place] = f"there is no {whole}{registry.nearest(path.name, names)}"
    return whole
