"""Predicted rows to a file or a stream, some at a time; a file appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tuneoff.errors import DataError

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
           ".parquet": "parquet"}  # fmt: skip
STREAMS = ("csv", "tsv", "jsonl")


class PredictedRows:
    """Writes columns piece by piece; used in a `with`. Raises DataError for an unknown format."""

    def __init__(self, path: Path | None, stream: TextIO, stream_format: str = "csv"):
        self.path, self.stream = path, stream
        if path is None:
            if stream_format not in STREAMS:
                raise DataError(f"a stream is {', '.join(STREAMS)}; got {stream_format!r}")
            self.format = stream_format
        else:
            found = FORMATS.get(path.suffix.lower())
            if found is None:
                raise DataError(
                    f"{path}: predictions are written as {', '.join(sorted(FORMATS))}; "
                    f"got {path.suffix or 'a name without an ending'}"
                )
            self.format = found
        self._temporary: Path | None = None
        self._parquet: Any = None
        self._begun = False

    def __enter__(self) -> Self:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
            if self.format != "parquet":
                self.stream = self._temporary.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self._close(keep=kind is None)

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Adds rows; every call has the same columns."""
        if self.format == "parquet":
            self._write_parquet(columns)
        elif self.format in ("csv", "tsv"):
            writer = csv.writer(
                self.stream, delimiter="\t" if self.format == "tsv" else ",", lineterminator="\n"
            )
            if not self._begun:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        else:
            for values in zip(*columns.values(), strict=True):
                row = json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False,
                                 default=str)  # fmt: skip
                before = "" if self.format == "jsonl" else ",\n" if self._begun else "[\n"
                self.stream.write(before + row + ("\n" if self.format == "jsonl" else ""))
                self._begun = True
        self._begun = True
        if self.path is None:
            self.stream.flush()

    def _write_parquet(self, columns: Mapping[str, Sequence[Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = None if self._parquet is None else self._parquet.schema
        table = pa.table({name: list(values) for name, values in columns.items()}, schema=schema)
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._temporary, table.schema)
        self._parquet.write_table(table)

    def _end(self) -> None:
        if self.format == "json":
            self.stream.write("\n]\n" if self._begun else "[]\n")

    def _close(self, *, keep: bool) -> None:
        if self._temporary is None or self.path is None:
            return
        if self._parquet is not None:
            self._parquet.close()
        elif self.format != "parquet":
            self.stream.close()
        if keep and self._temporary.exists():
            self._temporary.replace(self.path)
        self._temporary.unlink(missing_ok=True)
