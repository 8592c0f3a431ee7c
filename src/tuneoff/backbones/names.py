"""The built-in backbones' short names, without loading torch."""

from __future__ import annotations

from pathlib import Path

BUILTIN = Path(__file__).parent / "builtin"


def builtin_names() -> list[str]:
    """Short names of the backbones that the package brings: `mini-bert`, ..."""
    return sorted(path.name.removeprefix("tuneoff-") for path in BUILTIN.glob("tuneoff-*"))


def folder_of(model: str) -> Path | None:
    """The folder of a built-in name or of a local path; None for the name of a hub model."""
    if model in builtin_names():
        return BUILTIN / f"tuneoff-{model}"
    path = Path(model).expanduser()
    return path if path.is_dir() else None
