"""Reads YAML as YAML 1.2 means it, and remembers on which line everything stands.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false and `2024-01-01` a date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from tuneoff.errors import Problem, StudyError
from tuneoff.study_form import Place, dotted


class _Loader(yaml.SafeLoader):
    """Safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


_CORE = {
    "merge": r"<<",
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)",
}
for _tag, _pattern in _CORE.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), None
    )


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


@dataclass
class Text:
    """The data of a YAML text; `lines` counts from 1."""

    data: dict[str, Any]
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def in_order(self, problems: list[Problem]) -> list[Problem]:
        """The problems in the order of the file, each with its line."""
        lines = {dotted(place): line for place, line in self.lines.items()}
        placed = [(_line(problem.path, lines), problem) for problem in problems]
        return [
            Problem(problem.path, f"{problem.message} (line {line})") if line else problem
            for line, problem in sorted(placed, key=lambda pair: pair[0])
        ]


def _line(path: str, lines: dict[str, int]) -> int:
    """The line of a dotted path, or of the nearest thing around it that was written; else 0."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return 0


def read(text: str, source: str) -> Text:
    """Raises StudyError when the text is not YAML or not a mapping."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        found = Text(data={})
        if node is not None:
            _note(node, (), (), found)
            data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise StudyError([Problem(where, f"is not YAML: {reason}")], source) from None
    except (yaml.YAMLError, ValueError) as error:
        raise StudyError([Problem("", f"is not YAML: {error}")], source) from None
    finally:
        loader.dispose()
    if node is None:
        raise StudyError([Problem("", "is empty; `tuneoff init FILE` writes a study")], source)
    if not isinstance(data, dict):
        raise StudyError([Problem("", "must be a mapping (`key: value`) at the top")], source)
    found.data = data
    return found


def value(text: str) -> Any:
    """One value as YAML 1.2 means it: `5`, `1e-3`, `[0, 1]`, `true`, text.

    Raises StudyError when the text is not YAML.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise StudyError([Problem("", f"{text!r} is not a YAML value: {error}")]) from None
    finally:
        loader.dispose()


def _note(node: yaml.Node, above: tuple[yaml.Node, ...], place: Place, found: Text) -> None:
    """Remember lines; report a key that stands twice, of which YAML would drop one silently."""
    if any(node is one for one in above):
        raise yaml.MarkedYAMLError(problem="a value contains itself", problem_mark=node.start_mark)
    above = (*above, node)
    found.lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note(item, above, (*place, index), found)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inner in found.lines:
                before = found.lines[inner]
                found.problems.append(
                    Problem(dotted(inner), f"is given twice, on lines {before} and {line}")
                )
            found.lines[inner] = line
            _note(value, above, inner, found)
