"""Splits that the data does not bring, and limits: drawn by key, stratified, the same everywhere.

A row's place in the draw is a hash of its text key and the seed. So the draw does not depend on
the order of rows on disk, a smaller limit is a part of a larger one, and rows with equal texts
fall on the same side of a made split: a split that is made here makes no leaks. Where a task groups
rows (questions by their context), a whole group does.
"""

from __future__ import annotations

import numpy as np

from tuneoff.data.scan import Scan
from tuneoff.errors import DataError
from tuneoff.study import Split

_SALTS = {"test": 1, "validation": 2, "limit": 3}


def made_splits(train: Scan, split: Split, missing: list[str]) -> dict[str, np.ndarray]:
    """Row indices of `train` and of each missing split, taken from the rows of train.

    Shares are of all rows of train; test is drawn first.

    Raises DataError when train has too few rows.
    """
    n = len(train.keys)
    strata = _strata(train, split.stratify)
    keys = train.keys if train.groups is None else train.groups
    left = np.ones(n, bool)
    chosen: dict[str, np.ndarray] = {}
    for name in ("test", "validation"):
        if name not in missing:
            continue
        wanted: float | int = getattr(split, name)
        size = wanted if isinstance(wanted, int) else round(wanted * n)
        drawn = _draw_groups(keys, strata, left, size, split.seed, _SALTS[name])
        if not len(drawn) and train.groups is not None:
            drawn = _smallest(keys, left)
        left[drawn] = False
        if not len(drawn) or not left.any():
            raise DataError(
                f"{n} rows are too few to take {wanted} of them as {name}; give a file for "
                f"{name}, more rows, or another `split: {{{name}: ...}}`"
            )
        chosen[name] = drawn
    return {"train": np.flatnonzero(left), **chosen}


def limited(scan: Scan, limit: int | None, split: Split) -> np.ndarray:
    """(m,) ascending indices of at most `limit` rows, stratified."""
    n = len(scan.keys)
    if limit is None or limit >= n:
        return np.arange(n)
    strata = _strata(scan, split.stratify)
    places = _places(scan.keys, split.seed, _SALTS["limit"])
    share = allotted(np.bincount(strata), limit)
    chosen = []
    for stratum, count in enumerate(share):
        rows = np.flatnonzero(strata == stratum)
        chosen.append(rows[np.argsort(places[rows], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def allotted(counts: np.ndarray, size: int) -> np.ndarray:
    """(classes,) how many of `size` rows each class gets: its share, by largest remainders."""
    exact = counts * (size / counts.sum())
    share: np.ndarray = np.floor(exact).astype(np.int64)
    rest = np.argsort(share - exact, kind="stable")[: size - share.sum()]
    share[rest] += 1
    return np.asarray(np.minimum(share, counts))


def _strata(scan: Scan, stratify: bool) -> np.ndarray:
    """(n,) class codes in the order of the names, so that the order of rows changes nothing."""
    if scan.codes is None or not stratify:
        return np.zeros(len(scan.keys), np.int64)
    rank: np.ndarray = np.empty(len(scan.names), np.int64)
    rank[np.argsort(np.array(scan.names))] = np.arange(len(scan.names))
    strata: np.ndarray = rank[scan.codes]
    return strata


def _draw_groups(
    keys: np.ndarray, strata: np.ndarray, left: np.ndarray, size: int, seed: int, salt: int
) -> np.ndarray:
    """Rows of whole groups of equal keys, about `size` in all; each class keeps a group back."""
    rows = np.flatnonzero(left)
    groups, member = np.unique(keys[rows], return_inverse=True)
    sizes = np.bincount(member)
    stratum = np.full(len(groups), np.iinfo(np.int64).max)
    np.minimum.at(stratum, member, strata[rows])
    places = _places(groups, seed, salt)
    counts = np.bincount(stratum, weights=sizes, minlength=int(strata.max()) + 1).astype(np.int64)
    taken = np.zeros(len(groups), bool)
    for one, wanted in enumerate(allotted(counts, min(size, len(rows)))):
        inside = np.flatnonzero(stratum == one)
        inside = inside[np.argsort(places[inside], kind="stable")][:-1]
        taken[inside[np.cumsum(sizes[inside]) <= wanted]] = True
    return rows[taken[member]]


def _smallest(keys: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Rows of the smallest group, where none is as small as was asked for; none of a single one."""
    rows = np.flatnonzero(left)
    groups, member = np.unique(keys[rows], return_inverse=True)
    return rows[member == np.bincount(member).argmin()] if len(groups) > 1 else rows[:0]


def _places(keys: np.ndarray, seed: int, salt: int) -> np.ndarray:
    """(n,) uint64 hash of keys under a seed (the finalizer of splitmix64, Steele 2014)."""
    start = (seed * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed = keys ^ np.uint64(start)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
