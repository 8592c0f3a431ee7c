"""Rows in an Arrow table that is memory-mapped: only what is looked at is read.

rows = ArrowRows.of([{"text": "fine", "label": "good"}])
rows = rows.renamed({"text": ["title", "content"]}).select(np.array([0, 5, 9]))
for batch in rows.batches(1000, ["text"]): ...        # {"text": [1000 strings]}
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tuneoff.data.digest import ColumnDigest, digest
from tuneoff.errors import DataError
from tuneoff.registry import nearest

LINE = "__line__"  # hidden column: the line on which a row of a text file begins
BATCH_ROWS = 4096


@dataclass(frozen=True)
class ArrowRows:
    """A split of a dataset; see `tuneoff.datasets.Rows` for what it promises.

    table: all columns, in record batches of moderate size; indices: the rows in use, ascending,
    or None for all; columns: column name -> the table's columns it is made of (joined by a space
    when several); classes: column -> names of its integer codes; origin: (file, first row) pairs;
    left_out: reason -> rows that the reader dropped.
    """

    table: pa.Table
    indices: np.ndarray | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    origin: Sequence[tuple[str, int]] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            names = [name for name in self.table.column_names if name != LINE]
            object.__setattr__(self, "columns", {name: (name,) for name in names})

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], name: str = "rows") -> ArrowRows:
        """Rows that are in memory already."""
        return cls(pa.Table.from_pylist([dict(row) for row in rows]), origin=[(name, 0)])

    def __len__(self) -> int:
        return self.table.num_rows if self.indices is None else len(self.indices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches(BATCH_ROWS):
            for values in zip(*batch.values(), strict=True):
                yield dict(zip(batch, values, strict=True))

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    def column(self, name: str) -> list[Any]:
        """All values of a column, in memory."""
        return [value for batch in self.batches(BATCH_ROWS, [name]) for value in batch[name]]

    def class_names(self, name: str) -> list[str] | None:
        """The names of a column's classes in the data's own order, where it declares them.

        Such a column holds names, whatever codes are stored; -1 (no label) is None.
        """
        return self.classes.get(name)

    def batches(
        self, size: int = BATCH_ROWS, columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Columns of at most `size` rows at a time, in row order."""
        for batch in self.arrow_batches(size, columns):
            yield {name: batch.column(name).to_pylist() for name in batch.schema.names}

    def arrow_batches(
        self, size: int = BATCH_ROWS, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same as Arrow record batches.

        Rows are taken chunk by chunk: `Table.take` may first copy all chunks into one.
        """
        wanted = self.column_names if columns is None else list(columns)
        self.require(wanted)
        sources = list(dict.fromkeys(source for name in wanted for source in self.columns[name]))
        start = 0
        for chunk in self.table.select(sources).to_batches():
            rows = self._rows_within(start, chunk.num_rows)
            start += chunk.num_rows
            for at in range(0, len(rows), size):
                part = rows[at : at + size]
                whole = len(part) and part[-1] - part[0] + 1 == len(part)
                taken = (
                    chunk.slice(int(part[0]), len(part)) if whole else chunk.take(pa.array(part))
                )
                arrays = [self._column(taken, name) for name in wanted]
                yield pa.RecordBatch.from_arrays(arrays, names=wanted)

    def select(self, indices: np.ndarray) -> ArrowRows:
        """The rows at these positions, which must ascend."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and (indices[0] < 0 or np.any(np.diff(indices) <= 0)):
            raise ValueError("indices must ascend, without repetition")
        if len(indices) and indices[-1] >= len(self):
            raise IndexError(f"row {indices[-1]} of {len(self)}")
        return replace(self, indices=indices if self.indices is None else self.indices[indices])

    def renamed(self, names: Mapping[str, str | Sequence[str]]) -> ArrowRows:
        """Columns under new names: new name -> one column, or several to be joined by a space.

        A column keeps its own name too, unless a new one takes it.

        Raises DataError for a column that is not there, with the nearest that is.
        """
        chosen = {new: [old] if isinstance(old, str) else list(old) for new, old in names.items()}
        self.require([old for several in chosen.values() for old in several])
        columns = dict(self.columns)
        classes = {new: names for new, names in self.classes.items() if new not in chosen}
        for new, several in chosen.items():
            columns[new] = tuple(source for old in several for source in self.columns[old])
            if len(several) == 1 and several[0] in self.classes:
                classes[new] = self.classes[several[0]]
        return replace(self, columns=columns, classes=classes)

    def require(self, names: Iterable[str]) -> None:
        """Raises DataError when a column is missing, with the nearest that is there."""
        for name in names:
            if name not in self.columns:
                raise DataError(
                    f"{self.source}: there is no column {name!r}"
                    f"{nearest(name, self.column_names)}. Columns: {', '.join(self.column_names)}. "
                    f"Say which one it is, e.g. `columns: {{{name}: {self.column_names[0]}}}`"
                )

    @property
    def source(self) -> str:
        """Where the rows come from, in a word."""
        names = [name for name, _ in self.origin]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def where(self, row: int) -> str:
        """`reviews.csv line 812` or `reviews.parquet row 811`: where to look for a row."""
        at = int(row if self.indices is None else self.indices[row])
        if not self.origin:
            return f"row {at}"
        name, first = self.origin[bisect_right([start for _, start in self.origin], at) - 1]
        if LINE in self.table.column_names:
            return f"{name} line {self.table.column(LINE)[at].as_py()}"
        return f"{name} row {at - first}"

    def fingerprint(self, columns: Sequence[str] | None = None) -> str:
        """Hash of the columns' names and values, not of how they are stored."""
        names = sorted(self.column_names if columns is None else columns)
        states = [ColumnDigest() for _ in names]
        for batch in self.arrow_batches(BATCH_ROWS, names):
            for state, values in zip(states, batch.columns, strict=True):
                state.update(values)
        return digest(names, [state.value() for state in states])

    def _rows_within(self, start: int, count: int) -> np.ndarray:
        if self.indices is None:
            return np.arange(count)
        low, high = np.searchsorted(self.indices, [start, start + count])
        return self.indices[low:high] - start

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        sources = self.columns[name]
        if len(sources) > 1:
            texts = [pc.cast(batch.column(source), pa.string()) for source in sources]
            joined = pc.binary_join_element_wise(*texts, " ", null_handling="skip")
            return pc.utf8_trim_whitespace(joined)
        values = batch.column(sources[0])
        names = self.classes.get(name)
        if names is None or not pa.types.is_integer(values.type):
            return values
        codes = pc.if_else(pc.equal(values, -1), pa.scalar(None, values.type), values)
        try:
            return pa.array(names, pa.string()).take(codes)
        except pa.ArrowIndexError:
            raise DataError(
                f"{self.source}, column {name!r}: a code has no name; the data names "
                f"{len(names)} classes, 0 to {len(names) - 1}"
            ) from None
