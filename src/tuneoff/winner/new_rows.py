"""New rows from a file, some at a time, read as the study read its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
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
    """Some rows. texts: the task's columns; kept: columns to carry along, as they stand; where: a
    row's place in the file, for people."""

    texts: dict[str, list[str]]
    kept: dict[str, list[Any]]
    count: int
    where: Callable[[int], str]


def read_pieces(
    path: Path, data: DataFacts, keep: Sequence[str] = (), may_be_empty: Set[str] = frozenset()
) -> Iterator[Piece]:
    """The rows of a file in pieces of some thousand, in their order.

    may_be_empty: the task's columns that a row may leave empty, and a file may lack.
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
        data = _without_absent(data, rows, may_be_empty)
        renamed = _renamed(rows, data, path)
        renamed.require(keep)
        wanted = list(dict.fromkeys([*data.texts, *keep]))
        if not batch.num_rows:
            continue
        start = 0
        for values in renamed.batches(BATCH_ROWS, wanted):
            texts = {name: values[name] for name in data.texts}
            _no_empty({n: v for n, v in texts.items() if n not in may_be_empty}, renamed, start)
            count = len(values[wanted[0]])
            kept = {name: values[name] for name in keep}
            written = {name: list(map(_written, one)) for name, one in texts.items()}
            yield Piece(written, kept, count, partial(_where, renamed, start))
            start += count
        first += batch.num_rows
    faults.settle()


def _where(rows: ArrowRows, start: int, row: int) -> str:
    return rows.where(start + row)


def _written(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN is not itself


def _without_absent(data: DataFacts, rows: ArrowRows, may_be_empty: Set[str]) -> DataFacts:
    """Without the columns that a row may leave empty where the file has none of them."""
    there = set(rows.column_names)

    def absent(name: str) -> bool:
        source = data.columns.get(name, name)
        needed = {source} if isinstance(source, str) else set(source)
        return name in may_be_empty and not (needed <= there or name in there)

    texts = [name for name in data.texts if not absent(name)]
    return data.model_copy(update={"texts": texts})


def _reader(path: Path, data: DataFacts) -> Any:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    part = PARTS.get(suffix.lower())
    if part == "json" and data.dataset == "squad" and _is_object(path):
        part = "squad"
    if part is None:
        raise DataError(
            f"{path}: rows are read from {', '.join(sorted(PARTS))} (and .gz of the texts); "
            f"got {suffix or 'a name without an ending'}"
        )
    reading = data.reading if part == data.dataset else {}
    return registry.get("datasets", part)(train=path, **reading)


def _is_object(path: Path) -> bool:
    """Whether a JSON file holds one object, as SQuAD's do, not a list."""
    from tuneoff.datasets._text_files import open_text

    with open_text(path, "utf-8") as file:
        return file.read(1000).lstrip().startswith("{")


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
