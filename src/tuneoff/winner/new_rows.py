"""New rows from a file, some at a time, read as the study read its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tuneoff import registry
from tuneoff.errors import DataError
from tuneoff.winner.manifest import DataFacts

if TYPE_CHECKING:
    from tuneoff.datasets.arrow_rows import ArrowRows

PARTS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
         ".parquet": "parquet"}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Some rows. texts: the task's columns; kept: columns to carry along, as they stand."""

    texts: dict[str, list[str]]
    kept: dict[str, list[Any]]
    count: int


def read_pieces(path: Path, data: DataFacts, keep: Sequence[str] = ()) -> Iterator[Piece]:
    """The rows of a file in pieces of some thousand, in their order.

    Raises DataError with the file, the line and the column.
    """
    from tuneoff.datasets._faults import Faults
    from tuneoff.datasets.arrow_rows import BATCH_ROWS, ArrowRows

    if not path.is_file():
        names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}{registry.nearest(path.name, names)}")
    faults, first = Faults(drop=False), 0
    for batch in _reader(path, data).read(path, faults):
        faults.settle()
        table = pa.Table.from_batches([batch.replace_schema_metadata(None)])
        # a row's place in the file, for formats without lines
        rows = ArrowRows(table, origin=[(str(path), -first)])
        renamed = _renamed(rows, data, path)
        renamed.require(keep)
        wanted = list(dict.fromkeys([*data.texts, *keep]))
        if not batch.num_rows:
            continue
        start = 0
        for values in renamed.batches(BATCH_ROWS, wanted):
            texts = {name: values[name] for name in data.texts}
            _no_empty(texts, renamed, start)
            count = len(values[wanted[0]])
            kept = {name: values[name] for name in keep}
            yield Piece({name: list(map(str, one)) for name, one in texts.items()}, kept, count)
            start += count
        first += batch.num_rows
    faults.settle()


def _reader(path: Path, data: DataFacts) -> Any:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    part = PARTS.get(suffix.lower())
    if part is None:
        raise DataError(
            f"{path}: rows are read from {', '.join(sorted(PARTS))} (and .gz of the texts); "
            f"got {suffix or 'a name without an ending'}"
        )
    reading = data.reading if part == data.dataset else {}
    return registry.get("datasets", part)(train=path, **reading)


def _renamed(rows: ArrowRows, data: DataFacts, path: Path) -> ArrowRows:
    """The study's columns under the task's names; a file may use the task's names itself."""
    mapping = {name: data.columns[name] for name in data.texts if name in data.columns}
    needed = [name for one in mapping.values() for name in ([one] if isinstance(one, str) else one)]
    missing = [name for name in needed if name not in rows.column_names]
    if missing and all(name in rows.column_names for name in data.texts):
        return rows
    plain = [name for name in data.texts if name not in mapping]
    missing += [name for name in plain if name not in rows.column_names]
    if missing:
        raise DataError(
            f"{path}: there is no column {missing[0]!r}"
            f"{registry.nearest(missing[0], rows.column_names)}. The model reads "
            f"{', '.join(map(repr, [*needed, *plain]))}, as in its study; the file has "
            f"{', '.join(map(repr, rows.column_names))}"
        )
    return rows.renamed(mapping)


def _no_empty(texts: Mapping[str, Sequence[Any]], rows: ArrowRows, start: int) -> None:
    for name, values in texts.items():
        for offset, value in enumerate(values):
            if value is None or value != value or not str(value).strip():
                raise DataError(
                    f"{rows.where(start + offset)}: the {name} is empty; there is nothing to "
                    "predict from. Fill it in, or leave the row out"
                )
