"""What `hub` and `disk` share: splits of the `datasets` library as our rows, nothing copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneoff.datasets import SPLITS
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError
from tuneoff.registry import nearest

_OTHER_NAMES = {"validation": ("validation", "dev", "valid", "val"), "test": ("test",)}


def chosen_splits(
    there: list[str], wanted: Mapping[str, str | None], source: str
) -> dict[str, str]:
    """Our split -> the source's: as the study says, else the one of that name if there is one.

    Raises DataError for a split that is not there, with the nearest that is.
    """
    chosen: dict[str, str] = {}
    for split in SPLITS:
        name = wanted[split]
        if name is not None:
            if name not in there:
                raise DataError(
                    f"{source}: there is no split {name!r}{nearest(name, there)}. "
                    f"Splits: {', '.join(there)}. Say which one it is: `{split}: {there[0]}`"
                )
            chosen[split] = name
    for split, names in _OTHER_NAMES.items():
        free = [name for name in names if name in there and name not in chosen.values()]
        if split not in chosen and free:
            chosen[split] = free[0]
    return chosen


def library_rows(dataset: Any, name: str) -> ArrowRows:
    """A `datasets.Dataset` as rows over its own memory-mapped table."""
    from datasets import ClassLabel

    if dataset._indices is not None:
        dataset = dataset.flatten_indices()
    classes = {
        column: list(feature.names)
        for column, feature in dataset.features.items()
        if isinstance(feature, ClassLabel)
    }
    return ArrowRows(dataset.data.table, classes=classes, origin=[(name, 0)])
