"""Finds methods, tasks, datasets and metrics by the name of their file.

A part is one file: its stem is its name in a study, and it defines exactly one public class
that derives from the kind's base (`Method`, `Task`, `Dataset`, `Metric`). Files are looked for in

1. the package's own folder of that kind,
2. entry points of installed packages (group `tuneoff.methods`, ...: name = part, value = module),
3. plug-in folders: `$TUNEOFF_PLUGINS` (os.pathsep-separated) and `./tuneoff_plugins`,
   each with a sub-folder per kind (`methods/`, `tasks/`, `datasets/`, `metrics/`).

Names are listed without importing anything; a part is imported when it is asked for.
Source of the idea: EleutherAI/lm-evaluation-harness `api/registry.py` (lazy targets, collisions
named).
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tuneoff.errors import TuneoffError

Kind = Literal["methods", "tasks", "datasets", "metrics"]
KINDS: tuple[Kind, ...] = ("methods", "tasks", "datasets", "metrics")
_BASES = {"methods": "Method", "tasks": "Task", "datasets": "Dataset", "metrics": "Metric"}


def names(kind: Kind) -> list[str]:
    """The sorted names of all parts of a kind."""
    return sorted(_locations(kind))


def get(kind: Kind, name: str) -> Any:
    """The class of one part.

    Raises TuneoffError, with the nearest right name, when there is none.
    """
    locations = _locations(kind)
    if name not in locations:
        raise TuneoffError(
            f"{kind[:-1]} {name!r} is not known{nearest(name, list(locations))}. "
            f"Known: {', '.join(sorted(locations))}"
        )
    return _load(kind, name, locations[name])


def nearest(word: str, allowed: list[str]) -> str:
    """`; did you mean 'lora'?` or nothing."""
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _locations(kind: Kind) -> dict[str, str]:
    """Part name -> module name or file path; one name found in two places is an error."""
    found: dict[str, str] = {}

    def add(name: str, target: str) -> None:
        if found.setdefault(name, target) != target:
            raise TuneoffError(
                f"two {kind} are called {name!r}: {found[name]} and {target}; rename one of them"
            )

    package = Path(__file__).parent / kind
    for path in sorted(package.glob("[!_]*.py")):
        if not path.stem.endswith("_rows"):
            add(path.stem, f"tuneoff.{kind}.{path.stem}")
    for name, module in _installed(kind, tuple(sys.path)):
        add(name, module)
    for folder in _plugin_folders():
        for path in sorted((folder / kind).glob("[!_]*.py")):
            add(path.stem, str(path.resolve()))
    return found


@cache
def _installed(kind: Kind, path: tuple[str, ...]) -> list[tuple[str, str]]:  # noqa: ARG001 - a key
    """Name and module of the entry points in installed packages. Looked up once for each search
    path: every look reads a file of each package that is installed."""
    entries = importlib.metadata.entry_points(group=f"tuneoff.{kind}")
    return [(entry.name, entry.value) for entry in entries]


def _plugin_folders() -> list[Path]:
    listed = os.environ.get("TUNEOFF_PLUGINS", "").split(os.pathsep)
    folders = [Path(item) for item in listed if item] + [Path("tuneoff_plugins")]
    unique = {folder.resolve(): folder for folder in folders if folder.is_dir()}
    return list(unique.values())


def _imported(kind: Kind, name: str, target: str) -> ModuleType:
    """The module of a part; whatever its own code raises becomes an error that names the file."""
    try:
        if not target.endswith(".py"):
            return importlib.import_module(target)
        module_name = f"tuneoff_plugins_{kind}_{name}"
        spec = importlib.util.spec_from_file_location(module_name, target)
        if spec is None or spec.loader is None:
            raise ImportError("Python knows no way to load it")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        return module
    except TuneoffError:
        raise
    except Exception as error:
        where = f" line {line}" if (line := _line_in(target, error)) else ""
        raise TuneoffError(
            f"{target}{where}: the {kind[:-1]} {name!r} cannot be imported "
            f"({type(error).__name__}: {error}); mend the file, or take it away"
        ) from error


def _line_in(target: str, error: Exception) -> int | None:
    """The last line of the file that the error went through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == target
    ]
    return lines[-1] if lines else None


@cache
def _load(kind: Kind, name: str, target: str) -> Any:
    module = _imported(kind, name, target)
    base = getattr(importlib.import_module(f"tuneoff.{kind}"), _BASES[kind])
    parts = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value is not base
        and value.__module__ == module.__name__
    ]
    if len(parts) != 1:
        raise TuneoffError(
            f"{target}: a {kind[:-1]} file defines exactly one class derived from "
            f"tuneoff.{kind}.{_BASES[kind]}; found {[part.__name__ for part in parts] or 'none'}"
        )
    return parts[0]
