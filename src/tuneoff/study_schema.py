"""The JSON Schema of a study as people write it, with every registered part's settings in it.

Editors complete and check a study that begins with the line
`# yaml-language-server: $schema=study.schema.json`; `tuneoff schema` prints the schema.
"""

from __future__ import annotations

from typing import Any

from tuneoff import registry
from tuneoff.backbones.names import builtin_names
from tuneoff.registry import Kind
from tuneoff.study import Study
from tuneoff.study_form import DATA_FRAME, METHOD_FRAME, SHIFT_FRAME, TASK_FRAME

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema, draft 2020-12; parts of plug-in folders in use are in it too."""
    schema = Study.model_json_schema()
    definitions: Schema = schema["$defs"]
    _forms(definitions, "DataSpec", "datasets", "dataset", DATA_FRAME)
    _shifts(definitions)
    _forms(definitions, "TaskSpec", "tasks", "task", TASK_FRAME)
    _forms(definitions, "MethodSpec", "methods", "method", METHOD_FRAME)
    definitions["TaskSpec"]["anyOf"].append(_one_word(registry.names("datasets")))
    _forms(definitions, "MetricSpec", "metrics", "metric", frozenset())
    one: Schema = {"$ref": "#/$defs/MetricSpec"}
    for form in definitions["TaskSpec"]["anyOf"]:
        for task in (form, *form.get("properties", {}).values()):
            judged = task.get("properties", {})
            if "metric" in judged:
                judged["metric"] |= {"anyOf": [one, {"type": "null"}]}
                several = {"type": "array", "items": one}
                judged["metrics"] |= {"anyOf": [several, {"type": "null"}]}
    _backbones(definitions)
    for key in ("backbones", "tasks", "methods", "cells"):
        several = schema["properties"][key]
        schema["properties"][key] = {"anyOf": [several, several["items"]]}
    schema["required"].remove("methods")
    schema["oneOf"] = [{"required": ["methods"]}, {"required": ["cells"]}]
    cell = definitions["CellSpec"]["properties"]
    cell["training"] = {
        "description": "Training settings that differ from the study's.",
        "$ref": "#/$defs/Training",
    }
    seeds = schema["properties"]["seeds"]
    schema["properties"]["seeds"] = {
        "description": seeds.pop("description"),
        "default": 3,
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, seeds],
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A tuneoff study"
    whole: Schema = _without_titles(schema)
    return whole


def _forms(
    definitions: Schema, definition: str, kind: Kind, key: str, frame: frozenset[str]
) -> None:
    """Put the short and the flat form of every part in place of the canonical one."""
    canonical = definitions[definition]
    common = {name: value for name, value in canonical["properties"].items() if name in frame}
    needed = sorted(set(canonical["required"]) & (frame - {"name"}))
    simple: list[str] = []
    flat: list[Schema] = []
    short: Schema = {}
    for name in registry.names(kind):
        part = registry.get(kind, name)
        own = part.model_json_schema()
        definitions.update(own.pop("$defs", {}))
        outside = {field: value for field, value in common.items() if field not in own}
        properties = outside | own.get("properties", {})
        required = [*needed, *own.get("required", [])]
        about = (part.__doc__ or name).strip().splitlines()[0]
        base = {"type": "object", "additionalProperties": False, "description": about}
        chosen = {key: {"const": name, "description": about}}
        flat.append({**base, "properties": chosen | properties, "required": [key, *required]})
        settings: Schema = {**base, "properties": properties, "required": required}
        short[name] = settings if required else {"anyOf": [settings, {"type": "null"}]}
        if not required:
            simple.append(name)
    one_key = {
        "type": "object",
        "properties": short,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    words = [_one_word(simple)] if simple else []
    definitions[definition] = {"anyOf": [*words, one_key, *flat]}


def _shifts(definitions: Schema) -> None:
    """A further test set: what a dataset's `test` may be, settings beside the data's, or a source
    of its own."""
    _forms(definitions, "ShiftSpec", "datasets", "dataset", SHIFT_FRAME)
    forms = definitions["ShiftSpec"]["anyOf"]
    flat = [form for form in forms if "dataset" in form.get("properties", {})]
    beside = [
        {
            **form,
            "properties": {k: v for k, v in form["properties"].items() if k != "dataset"},
            "required": [],
        }
        for form in flat
    ]
    places = {"type": "array", "items": {"type": "string"}}
    short: list[Schema] = [{"type": "string"}, {"type": "integer", "minimum": 1}, places]
    several = [form for form in forms if "enum" not in form]
    definitions["ShiftSpec"] = {"anyOf": [*short, *several, *beside]}


def _one_word(names: list[str]) -> Schema:
    return {"enum": names}


def _backbones(definitions: Schema) -> None:
    whole = definitions["BackboneSpec"]
    whole["required"] = ["model"]
    names = ", ".join(builtin_names())
    word = {"type": "string", "description": f"Built in: {names}; or a folder, or a hub name."}
    definitions["BackboneSpec"] = {"anyOf": [word, whole]}


def _without_titles(node: Any) -> Any:
    """Pydantic's titles repeat the names of fields; editors show them in place of descriptions."""
    if isinstance(node, dict):
        return {
            key: _without_titles(value)
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str) and node.get("$schema") is None)
        }
    return [_without_titles(item) for item in node] if isinstance(node, list) else node
