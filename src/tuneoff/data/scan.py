"""One pass over a split: which rows are whole, their classes, their text keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuneoff.data.classes import class_name
from tuneoff.data.text_keys import text_keys
from tuneoff.datasets import Rows
from tuneoff.datasets._faults import Faults
from tuneoff.errors import DataError

_ROWS = 4096


@dataclass(frozen=True)
class Scan:
    """What the split's rows hold.

    keys: (n,) uint64 text keys; codes: (n,) int32 indices into names, or None without labels;
    names: the class names met, in the order of meeting.
    """

    keys: np.ndarray
    codes: np.ndarray | None
    names: list[str]

    def select(self, indices: np.ndarray) -> Scan:
        """The same for some of the rows."""
        codes = None if self.codes is None else self.codes[indices]
        return replace(self, keys=self.keys[indices], codes=codes)

    def counts(self) -> dict[str, int]:
        """Rows per class name."""
        if self.codes is None:
            return {}
        counted = np.bincount(self.codes, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counted, strict=True) if count}


@dataclass(frozen=True)
class Scanned:
    """The whole rows of a split, their scan, and how many were left out and why."""

    rows: Rows
    scan: Scan
    left_out: dict[str, int]

    def select(self, indices: np.ndarray) -> Scanned:
        """The same for some of the rows."""
        return replace(self, rows=self.rows.select(indices), scan=self.scan.select(indices))


def scan_rows(rows: Rows, texts: Sequence[str], label: str | None, *, drop: bool) -> Scanned:
    """Reads the text columns and the label of every row once.

    Rows with a missing text or label are refused or, with `drop`, left out and counted.

    Raises DataError with where the bad rows stand.
    """
    columns = [*texts, *([label] if label else [])]
    rows.require(columns)
    codes_by_name: dict[str, int] = {}
    faults = Faults(drop)
    reasons: Counter[str] = Counter()
    kept: list[int] = []
    keys: list[np.ndarray] = []
    codes: list[int] = []
    start = 0
    for batch in rows.batches(_ROWS, columns):
        whole = []
        for offset, values in enumerate(zip(*(batch[name] for name in columns), strict=True)):
            row = start + offset
            try:
                reason = _missing(texts, values)
                name = class_name(values[-1]) if label and not reason else None
            except DataError as error:
                raise DataError(f"{rows.where(row)}: {error}") from None
            if label and not reason and name is None:
                reason = f"no {label}"
            if reason:
                reasons[reason] += 1
                faults.add(rows.where(row), reason)
                continue
            whole.append(values)
            kept.append(row)
            if name is not None:
                codes.append(codes_by_name.setdefault(name, len(codes_by_name)))
        if whole:
            by_column = list(zip(*whole, strict=True))[: len(texts)]
            keys.append(text_keys([[str(text) for text in column] for column in by_column]))
        start += len(batch[columns[0]])
    if start and not kept:
        raise DataError(_nothing_left(rows, reasons, start))
    faults.settle()
    scan = Scan(
        keys=np.concatenate(keys) if keys else np.empty(0, np.uint64),
        codes=np.array(codes, np.int32) if label else None,
        names=list(codes_by_name),
    )
    kept_rows = rows if len(kept) == start else rows.select(np.array(kept, np.int64))
    return Scanned(kept_rows, scan, {**rows.left_out, **reasons})


def _missing(texts: Sequence[str], values: tuple[Any, ...]) -> str | None:
    for name, value in zip(texts, values, strict=False):
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return f"no {name}"
        if isinstance(value, str):
            if not value or value.isspace():
                return f"no {name}"
        elif not isinstance(value, (int, float)):
            raise DataError(f"the column {name!r} holds a {type(value).__name__}, not a text")
    return None


def _nothing_left(rows: Rows, reasons: Counter[str], count: int) -> str:
    why = ", ".join(f"{reason}: {times}" for reason, times in reasons.most_common())
    return (
        f"{rows.where(0)}: none of {count} rows can be used ({why}). A split without labels cannot "
        "be learned from or judged by; leave it out, or name another in its place"
    )
