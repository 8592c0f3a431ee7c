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
    names: dict[str, int] = {}
    faults = Faults(drop)
    reasons: Counter[str] = Counter()
    kept, keys, codes = [], [], []
    start = 0
    for batch in rows.batches(_ROWS, columns):
        values = list(zip(*(batch[name] for name in columns), strict=True))
        whole = []
        for offset, row in enumerate(values):
            try:
                reason = _reason(texts, label, row)
            except DataError as error:
                raise DataError(f"{rows.where(start + offset)}: {error}") from None
            if reason:
                reasons[reason] += 1
                faults.add(rows.where(start + offset), reason)
            else:
                whole.append(offset)
        if whole:
            kept.append(start + np.array(whole, np.int64))
            keys.append(text_keys([[str(batch[name][at]) for at in whole] for name in texts]))
            if label:
                found = (class_name(batch[label][at]) or "" for at in whole)
                codes.append(np.array([names.setdefault(one, len(names)) for one in found]))
        start += len(values)
    if start and not kept:
        raise DataError(_nothing_left(rows, reasons, start))
    faults.settle()
    scan = Scan(
        keys=np.concatenate(keys) if keys else np.empty(0, np.uint64),
        codes=np.concatenate(codes).astype(np.int32) if codes else None,
        names=list(names),
    )
    count = len(scan.keys)
    kept_rows = rows if count == start else rows.select(np.concatenate(kept))
    return Scanned(kept_rows, scan, {**rows.left_out, **reasons})


def _reason(texts: Sequence[str], label: str | None, values: tuple[Any, ...]) -> str | None:
    """Why a row cannot be used, or None."""
    if reason := _missing(texts, values):
        return reason
    return f"no {label}" if label and class_name(values[-1]) is None else None


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
