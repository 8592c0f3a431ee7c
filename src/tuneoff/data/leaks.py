"""Rows of test or validation that stand in train too (or test rows in validation).

Texts are compared without case, spaces and punctuation; a match is `exact` when not even those
differ. Where a task groups rows (questions by their context), rows whose group stands in both
splits are counted apart: they are no copies, and still no independent ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneoff.data.scan import Scanned
from tuneoff.datasets import SHIFT

PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))
_SHOWN = 5
_SHOWN_CHARACTERS = 160


@dataclass(frozen=True)
class Leak:
    """Rows of `split` that stand in `other` too: how many, how many exactly, some of them."""

    split: str
    other: str
    count: int
    exact: int
    share: float
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Shared:
    """Rows of `split` that are no leaks, and whose `column` stands in `other` too; values: how many
    different ones."""

    split: str
    other: str
    column: str
    count: int
    values: int


def find_shared(splits: Mapping[str, Scanned], column: str | None) -> list[Shared]:
    """What each pair of splits shares of the column that rows are grouped by."""
    found = []
    for split, other in _pairs(splits):
        ours, theirs = splits[split].scan, splits[other].scan
        if column is None or ours.groups is None or theirs.groups is None:
            continue
        rows = np.isin(ours.groups, theirs.groups) & ~np.isin(ours.keys, theirs.keys)
        if rows.any():
            values = len(np.unique(ours.groups[rows]))
            found.append(Shared(split, other, column, int(rows.sum()), values))
    return found


def find_leaks(splits: Mapping[str, Scanned], texts: Sequence[str]) -> list[Leak]:
    """The leaks between each pair of splits; pairs without any are left out. Of further test sets
    those from train."""
    leaks = [
        _leak(split, splits[split], other, splits[other], texts) for split, other in _pairs(splits)
    ]
    return [leak for leak in leaks if leak.count]


def _pairs(splits: Mapping[str, Scanned]) -> list[tuple[str, str]]:
    """The pairs of splits that are looked at."""
    shifts = [(name, "train") for name in splits if name.startswith(SHIFT)]
    return [pair for pair in (*PAIRS, *shifts) if set(pair) <= splits.keys()]


def clean_train(splits: Mapping[str, Scanned]) -> np.ndarray:
    """(m,) indices of the rows of train whose text stands in no other split."""
    held_out = [split.scan.keys for name, split in splits.items() if name != "train"]
    leaked = np.isin(splits["train"].scan.keys, np.concatenate(held_out))
    return np.flatnonzero(~leaked)


def _leak(split: str, ours: Scanned, other: str, theirs: Scanned, texts: Sequence[str]) -> Leak:
    matched = np.flatnonzero(np.isin(ours.scan.keys, theirs.scan.keys))
    partners = np.flatnonzero(np.isin(theirs.scan.keys, ours.scan.keys))
    their_texts: dict[int, dict[tuple[Any, ...], int]] = {}
    for row, values in _texts(theirs, partners, texts):
        their_texts.setdefault(int(theirs.scan.keys[row]), {}).setdefault(values, row)
    exact = 0
    examples: list[dict[str, Any]] = []
    for row, values in _texts(ours, matched, texts):
        same_key = their_texts[int(ours.scan.keys[row])]
        exact += values in same_key
        if len(examples) < _SHOWN:
            partner = same_key.get(values, next(iter(same_key.values())))
            examples.append(
                {
                    split: ours.rows.where(row),
                    other: theirs.rows.where(partner),
                    "exact": values in same_key,
                    "text": " | ".join(map(str, values))[:_SHOWN_CHARACTERS],
                }
            )
    share = len(matched) / max(len(ours.scan.keys), 1)
    return Leak(split, other, len(matched), exact, share, examples)


def _texts(split: Scanned, rows: np.ndarray, texts: Sequence[str]) -> Any:
    """(row, texts) of some rows."""
    at = 0
    for batch in split.rows.select(rows).batches(columns=list(texts)):
        for values in zip(*(batch[name] for name in texts), strict=True):
            yield int(rows[at]), values
            at += 1
