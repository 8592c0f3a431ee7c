"""Reads CSV and TSV: one pass, strict about quotes and the number of fields, lines remembered.

Every value stays the text that stands in the file ("NA" and "007" too), and an empty field is a
missing value. Source of the format: RFC 4180.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tuneoff.datasets._faults import Faults, where
from tuneoff.datasets._text_files import open_text
from tuneoff.datasets.arrow_rows import BATCH_ROWS, LINE
from tuneoff.errors import DataError

_BATCH_CHARACTERS = 1 << 22
_LONGEST_FIELD = 1 << 28
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read_delimited(
    path: Path,
    faults: Faults,
    *,
    delimiter: str,
    quotes: bool,
    encoding: str,
    header: list[str] | None,
) -> Iterator[pa.RecordBatch]:
    """The rows of one file, all columns as strings."""
    csv.field_size_limit(_LONGEST_FIELD)
    with open_text(path, encoding) as file:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        records = _records(path, reader)
        names = header
        if names is None:
            _, first = next(records, (0, None))
            if first is None:
                raise DataError(f"{path} is empty; it needs a first line with column names")
            names = _column_names(path, first, delimiter)
        yield from _batches(path, records, reader, names, faults)


def _records(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of each record; blank lines are passed over."""
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{where(path, line, reader.line_num)}: the quotes are wrong ({error}); a quote "
                'inside a quoted field is written twice (""), and a file whose quotes are plain '
                "characters is read with `quotes: false`"
            ) from None
        if fields:
            yield line, fields


def _batches(
    path: Path,
    records: Iterator[tuple[int, list[str]]],
    reader: Any,
    names: list[str],
    faults: Faults,
) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([*((name, pa.string()) for name in names), (LINE, pa.int64())])
    rows: list[list[str]] = []
    lines: list[int] = []
    characters = 0

    def batch() -> pa.RecordBatch:
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        arrays = [pa.array([value or None for value in column], pa.string()) for column in columns]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(lines, pa.int64())], schema=schema)

    for line, fields in records:
        if len(fields) != len(names):
            faults.add(where(path, line, reader.line_num), _ragged(fields, names))
            continue
        rows.append(fields)
        lines.append(line)
        characters += sum(map(len, fields))
        if len(rows) == BATCH_ROWS or characters > _BATCH_CHARACTERS:
            yield batch()
            rows, lines, characters = [], [], 0
    yield batch()


def _ragged(fields: list[str], names: list[str]) -> str:
    found = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
    remedy = (
        "a field with the delimiter in it must be quoted"
        if len(fields) > len(names)
        else "a field is missing, or a quote before it is not closed"
    )
    return f"{found} where the header has {len(names)} ({', '.join(names)}); {remedy}"


def _column_names(path: Path, first: list[str], delimiter: str) -> list[str]:
    names = [name.strip() or f"column_{number}" for number, name in enumerate(first, start=1)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(
            f"{path} line 1: two columns are called {sorted(twice)[0]!r}; rename one. A file "
            "without a line of column names needs `header: [first, second, ...]`"
        )
    if len(names) == 1:
        for other, word in _DELIMITERS.items():
            if other != delimiter and other in names[0]:
                shown = "\\t" if other == "\t" else other
                raise DataError(
                    f"{path} line 1: the header is the one column {names[0]!r}, with a {word} in "
                    f'it; set `delimiter: "{shown}"`'
                )
    return names
