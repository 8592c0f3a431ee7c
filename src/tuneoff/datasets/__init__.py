"""Datasets: where rows come from. One file each; the stem is the kind of source in a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np

from tuneoff.settings import Settings

SPLITS = ("train", "validation", "test")
SHIFT = "shift:"
"""Before the name of a further test set, where splits are named: `shift:tweets`."""


class Rows(Protocol):
    """A split: random access to rows that may be larger than memory (Arrow, memory-mapped).

    `tuneoff.datasets.arrow_rows.ArrowRows` is one; a new dataset makes them of a list of dicts
    with `ArrowRows.of(rows)`.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...
    def column(self, name: str) -> list[Any]:
        """All values of a column, in memory."""

    def batches(
        self, size: int = ..., columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, list[Any]]]:
        """Columns of at most `size` rows at a time, in row order."""

    def class_names(self, name: str) -> list[str] | None:
        """The names of a column's classes in the data's own order, where it declares them.

        Such a column holds names, whatever codes are stored; -1 (no label) is None.
        """

    def select(self, indices: np.ndarray) -> Self:
        """The rows at these positions, which must ascend."""

    def renamed(self, names: Mapping[str, str | Sequence[str]]) -> Self:
        """Columns under new names; several old ones are joined by a space."""

    def require(self, names: Sequence[str]) -> None:
        """Raises DataError when a column is missing, with the nearest that is there."""

    def where(self, row: int) -> str:
        """Where a person finds a row: `reviews.csv line 812`."""

    def fingerprint(self, columns: Sequence[str] | None = None) -> str:
        """Hash of the content."""

    @property
    def column_names(self) -> list[str]: ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Reason -> rows that the reader dropped."""


class Dataset(Settings):
    """A source of rows. Subclasses add fields: paths, names, how to read."""

    on_bad_rows: Literal["error", "drop"] = "error"
    """Rows that cannot be read, or have no text or no label: refuse the data, or leave them out
    and count them."""
    drop_leaked: bool = False
    """Leave rows out of train whose text stands in test or validation too. They are found and
    reported in any case."""

    synthetic: ClassVar[bool] = False
    """True when the rows are made by rule and say nothing about real data."""

    @property
    def title(self) -> str:
        """What people see as the source's name."""
        return type(self).__name__

    def load(self) -> Mapping[str, Rows]:
        """Splits by name: `train`, and `validation` and `test` where the source has them.

        Raises DataError with the file, the row or column, and the remedy.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Hash of the content (not of the path), so that a run is known by its data."""
        from tuneoff.data.digest import digest

        return digest({split: rows.fingerprint() for split, rows in self.load().items()})
