"""JSON: one list of objects, read piece by piece, so that it may be larger than memory.

data: {dataset: json, train: reviews.json, columns: {text: review}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, TextIO

import pyarrow as pa
from pydantic import field_validator

from tuneoff.datasets._faults import Faults, where
from tuneoff.datasets._files import FileDataset
from tuneoff.datasets._objects import Record, object_batches
from tuneoff.datasets._text_files import known_encoding, open_text
from tuneoff.errors import DataError

_PIECE = 1 << 20
_LONGEST = 1 << 28


class Json(FileDataset):
    """A list of objects, `[{...}, {...}]`; their keys are the columns."""

    encoding: str = "utf-8"
    """How characters are stored; a byte order mark is no part of the text."""

    format: ClassVar[str] = "JSON"

    _encoding = field_validator("encoding")(lambda name: known_encoding(name) and name)

    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
        return object_batches(lambda noted: _records(path, self.encoding, noted), faults)


def _records(path: Path, encoding: str, faults: Faults) -> Iterator[Record]:
    with open_text(path, encoding) as file:
        items = _Items(path, file)
        while (found := items.next()) is not None:
            line, value, characters = found
            if isinstance(value, dict):
                yield Record(line, value, characters)
            else:
                faults.add(where(path, line), f"a {type(value).__name__}, not an object {{...}}")


class _Items:
    """The items of the list that a file holds, one at a time, with the line of each."""

    def __init__(self, path: Path, file: TextIO):
        self.path, self.file = path, file
        self.buffer, self.at, self.line = "", 0, 1
        self.decoder = json.JSONDecoder()
        first = self._peek()
        if first == "":
            raise DataError(f"{path} is empty; it needs a list of objects, [{{...}}, {{...}}]")
        if first != "[":
            raise DataError(
                f"{path} line {self.line}: this is no list of objects, [{{...}}, {{...}}], but "
                f"begins with {first!r}. With one object on each line, read it with "
                "`dataset: jsonl`"
            )
        self._advance(self.at + 1)
        self.separated = True

    def next(self) -> tuple[int, Any, int] | None:
        """(line, value, characters) of the next item; None after the last."""
        letter = self._peek()
        if letter == ",":
            self._advance(self.at + 1)
            letter = self._peek()
        elif letter not in ("]", "") and not self.separated:
            raise self._error(f"a comma is missing before {letter!r}")
        if letter == "]":
            self._advance(self.at + 1)
            if extra := self._peek():
                raise self._error(f"{extra!r} stands after the end of the list")
            return None
        if letter == "":
            raise self._error("the file ends before the list does; it was cut short")
        line, start = self.line, self.at
        value, end = self._decoded()
        characters = end - start
        self._advance(end)
        self.separated = False
        return line, value, characters

    def _decoded(self) -> tuple[Any, int]:
        """A value and the place of its end; reads on until the value is whole."""
        while True:
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.at)
                if end < len(self.buffer) or not self._more():  # a number may go on
                    return value, end
            except json.JSONDecodeError as error:
                # A string that does not end is named by its start, however far back that lies.
                cut = error.msg.startswith("Unterminated string") or (
                    error.pos >= len(self.buffer) - 64
                )
                if not cut or not self._more():
                    line = self.line + self.buffer.count("\n", self.at, error.pos)
                    raise DataError(f"{where(self.path, line)}: no JSON: {error.msg}") from None

    def _peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            at = self.at
            while at < len(self.buffer) and self.buffer[at] in " \t\r\n":
                at += 1
            self._advance(at)
            if at < len(self.buffer):
                return self.buffer[at]
            if not self._more():
                return ""

    def _advance(self, end: int) -> None:
        self.line += self.buffer.count("\n", self.at, end)
        self.at = end

    def _more(self) -> bool:
        """Reads on; the part that is done with is let go."""
        if len(self.buffer) - self.at > _LONGEST:
            raise self._error("an item of this list does not end")
        piece = self.file.read(max(_PIECE, len(self.buffer) - self.at))
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)

    def _error(self, message: str) -> DataError:
        return DataError(f"{where(self.path, self.line)}: {message}")
