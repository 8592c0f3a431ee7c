"""What a run is known by: hashes of its settings, its data, its backbone and our code."""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

from tuneoff.backbones.names import folder_of

PACKAGE = Path(__file__).parent
NUMERIC = ("backbones", "data", "datasets", "methods", "metrics", "tasks", "training")
"""The folders of the package whose code decides a run's numbers."""

_WHOLE_BYTES = 1 << 20  # files up to this size are hashed whole, larger ones by three samples


def digest(data: Any) -> str:
    """16 hex digits of plain JSON data; equal data, equal digest, whatever the order of keys."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Hash of the package's sources that influence numbers."""
    files = sorted(path for folder in NUMERIC for path in (PACKAGE / folder).rglob("*.py"))
    state = hashlib.sha256()
    for path in files:
        state.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        state.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return state.hexdigest()[:16]


def part_code(*parts: type) -> list[str]:
    """Hashes of the source files of parts that come from outside the package."""
    files = sorted({Path(inspect.getfile(part)) for part in parts})
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in files
        if PACKAGE not in path.parents
    ]


def backbone_fingerprint(model: str, revision: str | None) -> str:
    """Hash of a folder's files (weights by samples), or the commit of a cached hub model.

    A hub model that is not in the local cache is known by its name and revision.
    """
    folder = folder_of(model)
    if folder is not None:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return digest({path.name: _sampled(path) for path in files})
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    if isinstance(found, str):
        return digest([model, Path(found).parent.name])
    return digest([model, revision])


def _sampled(path: Path) -> str:
    """Hash of a file: whole when small, else its size and a mebibyte at each of three places."""
    if not path.is_file():
        return ""
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            state.update(file.read())
        else:
            for start in (0, (size - _WHOLE_BYTES) // 2, size - _WHOLE_BYTES):
                file.seek(start)
                state.update(file.read(_WHOLE_BYTES))
    return state.hexdigest()[:16]
