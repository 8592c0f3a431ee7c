"""JSON Lines: one object per line.

data: {dataset: jsonl, train: reviews.jsonl, columns: {text: review}}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from pydantic import field_validator

from tuneoff.datasets._faults import Faults, where
from tuneoff.datasets._files import FileDataset
from tuneoff.datasets._objects import Record, object_batches
from tuneoff.datasets._text_files import known_encoding, open_text
from tuneoff.errors import DataError


class Jsonl(FileDataset):
    """One JSON object per line; its keys are the columns. Blank lines are passed over."""

    encoding: str = "utf-8"
    """How characters are stored; a byte order mark is no part of the text."""

    format: ClassVar[str] = "JSON Lines"

    _encoding = field_validator("encoding")(lambda name: known_encoding(name) and name)

    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
        return object_batches(lambda noted: _records(path, self.encoding, noted), faults)


def _records(path: Path, encoding: str, faults: Faults) -> Iterator[Record]:
    with open_text(path, encoding) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if number == 1 and line.lstrip().startswith("["):
                raise DataError(
                    f"{path} line 1: this is one JSON list; read it with `dataset: json`"
                )
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                faults.add(where(path, number), f"no JSON: {error.msg} at column {error.colno}")
                continue
            if not isinstance(value, dict):
                faults.add(where(path, number), f"a {type(value).__name__}, not an object {{...}}")
                continue
            yield Record(number, value, len(line))
