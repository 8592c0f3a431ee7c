"""Where tuneoff keeps what it can make again: read rows and token ids.

Entries are folders named by the hash of what they were made from. An entry appears whole, by one
rename, or not at all; removing any of it at any time costs only the time to make it again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tuneoff.errors import DataError


def cache_folder() -> Path:
    """`$TUNEOFF_CACHE`, or the platform's cache folder."""
    if given := os.environ.get("TUNEOFF_CACHE"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tuneoff"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "tuneoff" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tuneoff"


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of an entry; `make` fills it when there is none yet.

    Two processes may make the same entry at once: the first to finish wins, the other's is dropped.

    Raises DataError when the cache cannot be written.
    """
    entry = cache_folder() / kind / key
    if entry.is_dir():
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=entry.parent))
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache_folder()} ({error}); "
            "set TUNEOFF_CACHE to a folder that can be written"
        ) from None
    try:
        make(unfinished)
        _settle(unfinished, entry)
    except OSError as error:
        raise DataError(
            f"cannot write to the cache {cache_folder()} ({error}); free some space there, "
            "or set TUNEOFF_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return entry


def _settle(unfinished: Path, entry: Path) -> None:
    for file in unfinished.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    unfinished.chmod(0o755)
    try:
        unfinished.rename(entry)
    except OSError:
        if not entry.is_dir():  # else another process was first, with the same content
            raise
