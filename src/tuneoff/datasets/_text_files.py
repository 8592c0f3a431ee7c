"""Text files opened with care: byte order marks, compression, wrong encodings explained."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from tuneoff.errors import DataError

_GUESSES = ("utf-8", "cp1252", "latin-1")
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def known_encoding(name: str) -> str:
    """The encoding under which a byte order mark is no part of the text.

    Raises ValueError for a name that Python does not know.
    """
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(
            f"encoding {name!r} is not known; common ones: {', '.join(_GUESSES)}, utf-16"
        ) from None
    return "utf-8-sig" if name.lower().replace("_", "-") in ("utf-8", "utf8") else name


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """The file as text with its line ends kept; `.gz` files are unpacked on the way.

    Raises DataError for bytes that are not of the encoding, with their line and a better guess.
    """
    try:
        with _open_bytes(path) as raw:
            yield TextIOWrapper(raw, encoding=known_encoding(encoding), newline="")
    except UnicodeError:
        raise DataError(_explained(path, encoding)) from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from None


def _open_bytes(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _explained(path: Path, encoding: str) -> str:
    with _open_bytes(path) as raw:
        start = raw.read(2)
        for mark, guess in _MARKS:
            if start == mark and encoding != guess:
                return f"{path} is not {encoding} but {guess}: set `encoding: {guess}`"
        raw.seek(0)
        for number, line in enumerate(raw, start=1):
            try:
                line.decode(encoding)
            except UnicodeError as error:
                if not isinstance(error, UnicodeDecodeError):
                    break
                byte = line[error.start]
                guesses = [name for name in _GUESSES if name != encoding and _reads(line, name)]
                hint = f"set `encoding: {guesses[0]}`, or " if guesses else ""
                return (
                    f"{path} line {number}: byte 0x{byte:02x} at place {error.start + 1} is not "
                    f"{encoding}; {hint}save the file as UTF-8"
                )
    return f"{path} is not {encoding}; set `encoding`, or save the file as UTF-8"


def _reads(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeError:
        return False
    return True
