"""One pass over a split: which rows are whole, their classes, their text keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuneoff.data.classes import class_name
from tuneoff.data.text_keys import text_keys
from tuneoff.datasets import Rows
from tuneoff.datasets._faults import Faults
from tuneoff.errors import DataError
from tuneoff.tasks import Task

_ROWS = 4096


@dataclass(frozen=True)
class Scan:
    """What the split's rows hold.

    keys: (n,) uint64 text keys; codes: (n,) int32 indices into names, or None without labels;
    names: the class names met, in the order of meeting; groups: (n,) uint64 text keys of the
    column that the task groups rows by, or None.
    """

    keys: np.ndarray
    codes: np.ndarray | None
    names: list[str]
    groups: np.ndarray | None = None

    def select(self, indices: np.ndarray) -> Scan:
        """The same for some of the rows."""
        codes = None if self.codes is None else self.codes[indices]
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, keys=self.keys[indices], codes=codes, groups=groups)

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


def scan_rows(rows: Rows, texts: Sequence[str], task: Task, *, drop: bool) -> Scanned:
    """Reads the text columns, the label and the answer of every row once.

    Rows with a missing text, label or answer, and those in which the task finds a fault, are
    refused or, with `drop`, left out and counted; those that the task's settings do not want are
    left out and counted.

    Raises DataError with where the bad rows stand.
    """
    label = task.label
    columns = [*texts, *task.answer_columns(rows.column_names)]
    rows.require(columns)
    names: dict[str, int] = {}
    faults = Faults(drop)
    reasons: Counter[str] = Counter()
    kept, keys, codes, groups = [], [], [], []
    start = 0
    for batch in rows.batches(_ROWS, columns):
        values = list(zip(*(batch[name] for name in columns), strict=True))
        whole = []
        for offset, row in enumerate(values):
            named = dict(zip(columns, row, strict=True))
            try:
                reason = _reason(task, texts, named) or task.fault(named)
            except DataError as error:
                raise DataError(f"{rows.where(start + offset)}: {error}") from None
            if reason:
                reasons[reason] += 1
                faults.add(rows.where(start + offset), reason)
            elif unwanted := task.unwanted(named):
                reasons[unwanted] += 1
            else:
                whole.append(offset)
        if whole:
            kept.append(start + np.array(whole, np.int64))
            keys.append(text_keys([[_text(batch[name][at]) for at in whole] for name in texts]))
            if task.grouped_by:
                groups.append(text_keys([[_text(batch[task.grouped_by][at]) for at in whole]]))
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
        groups=np.concatenate(groups) if groups else None,
    )
    count = len(scan.keys)
    kept_rows = rows if count == start else rows.select(np.concatenate(kept))
    return Scanned(kept_rows, scan, {**rows.left_out, **reasons})


def _reason(task: Task, texts: Sequence[str], row: Mapping[str, Any]) -> str | None:
    """Why a row cannot be used, or None; of answers in a form of their own the task knows."""
    for name, value in row.items():
        if name not in (*texts, task.label, task.answer):
            continue
        if name == task.label:
            if class_name(value) is None:
                return f"no {name}"
        elif isinstance(value, str):
            if (not value or value.isspace()) and name not in task.may_be_empty:
                return f"no {name}"
        elif _missing(value):
            if name not in task.may_be_empty:
                return f"no {name}"
        elif not isinstance(value, (int, float)):
            raise DataError(f"the column {name!r} holds a {type(value).__name__}, not a text")
    return None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    return "" if _missing(value) else str(value)


def _nothing_left(rows: Rows, reasons: Counter[str], count: int) -> str:
    why = ", ".join(f"{reason}: {times}" for reason, times in reasons.most_common())
    return (
        f"{rows.where(0)}: none of {count} rows can be used ({why}). A split without answers "
        "cannot be learned from or judged by; leave it out, name another in its place, or change "
        "what the task leaves out"
    )
