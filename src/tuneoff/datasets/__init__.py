"""Datasets: where rows come from. One file each; the stem is the kind of source in a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from tuneoff.settings import Settings


class Rows(Protocol):
    """A split: random access to rows that may be larger than memory (Arrow, memory-mapped)."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...
    def column(self, name: str) -> list[Any]: ...
    @property
    def column_names(self) -> list[str]: ...


class Dataset(Settings):
    """A source of rows. Subclasses add fields (paths, names, column maps)."""

    def load(self) -> Mapping[str, Rows]:
        """Splits by name: `train`, and `validation` and `test` where the source has them.

        Raises DataError with the file, the row or column, and the remedy.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Hash of the content (not of the path), so that a run is known by its data."""
        raise NotImplementedError
