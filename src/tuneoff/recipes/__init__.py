"""Recipes: studies that the package brings, as YAML. The stem of the file is the recipe's name."""

from __future__ import annotations

from pathlib import Path

from tuneoff.errors import Problem, StudyError
from tuneoff.registry import nearest

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The sorted names of the recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(study: str | Path) -> Path:
    """The file of a study, or of the recipe of that name.

    Raises StudyError when there is neither.
    """
    path = Path(study).expanduser()
    if path.is_file():
        return path
    if str(study) in names():
        return FOLDER / f"{study}.yaml"
    folder = path.parent if path.parent.is_dir() else Path()
    files = [str(path.parent / f.name) for f in folder.glob("*.y*ml")]
    raise StudyError(
        [
            Problem(
                "",
                f"is neither a file nor a recipe{nearest(str(study), files + names()) or '.'} "
                f"Recipes: {', '.join(names())}",
            )
        ],
        str(study),
    )
