"""Scores of runs on the same test rows, and how they would move together on other rows.

Letters: R runs, N test rows, G groups of rows that were drawn together, C classes, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tuneoff.errors import TuneoffError
from tuneoff.metrics import Metric, Predicted

RESAMPLES = 1000
SLOW_RESAMPLES = 200
"""For a metric that has none of `values`, `statistics`, `from_counts`."""


@dataclass(frozen=True)
class RunScores:
    """Scores of R runs on the same test rows: values (R,), and covariance (R, R) over rows."""

    values: np.ndarray
    covariance: np.ndarray
    rows: int
    """N, how many rows or groups were drawn."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    higher_is_better: bool = True


def score_runs(
    metric: Metric,
    runs: Sequence[Predicted],
    name: str = "",
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> RunScores:
    """Scores each run, and says how the scores would move together on other test rows.

    name: of the metric, where the runs keep its statistics; groups: (N,) int, rows of one group
    (the paragraphs of one text) are drawn together. Means have an exact covariance, functions of
    sums one to first order; others are computed again on resamples of the rows.
    """
    size = len(runs[0])
    groups = np.arange(size) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2:
        raise TuneoffError(f"a comparison needs at least 2 test rows, got {count}")
    if metric.per_example or metric.summed:
        tables = [_table(metric, run, name) for run in runs]
        values = np.array([metric.from_table(table) for table in tables])
        spread = _covariance_of_means if metric.per_example else _covariance_of_sums
        covariance = spread(metric, tables, groups, count)
    else:
        scores = [metric.score(run) for run in runs]
        if not all(isinstance(score, int | float) for score in scores):
            raise TuneoffError(
                f"metric {type(metric).__name__} gives a table, and methods are compared by a "
                "number"
            )
        values = np.array(scores, np.float64)
        random = np.random.default_rng(seed)
        draw = _resampled_counts if metric.counted else _resampled_scores
        covariance = np.atleast_2d(np.cov(draw(metric, runs, groups, random).T))
    return RunScores(values, covariance, count, metric.bounds, metric.higher_is_better)


def _table(metric: Metric, run: Predicted, name: str) -> np.ndarray:
    """What the run keeps of the metric; computed where it keeps nothing."""
    return run.kept[name] if name in run.kept else metric.table(run)


def _covariance_of_sums(
    metric: Metric, tables: Sequence[np.ndarray], groups: np.ndarray, count: int
) -> np.ndarray:
    """(R, R): the infinitesimal jackknife, exact where the score is a mean or a ratio's mean.

    A group's influence is how the score moves when the group weighs a little more.
    Source: Efron 1982, "The jackknife, the bootstrap and other resampling plans", chapter 6.
    """
    step = 1e-4
    influence_RG = np.empty((len(tables), count))
    for run, table in enumerate(tables):
        sums_GS = np.stack(
            [np.bincount(groups, column, count) for column in table.T.astype(np.float64)], axis=1
        )
        total = sums_GS.sum(0)
        more, less = (metric.from_sums(total + sign * step * sums_GS) for sign in (1, -1))
        influence_RG[run] = (more - less) / (2 * step)
    influence_RG -= influence_RG.mean(axis=1, keepdims=True)
    return np.asarray(influence_RG @ influence_RG.T * (count / (count - 1)))


def _covariance_of_means(
    metric: Metric, tables: Sequence[np.ndarray], groups: np.ndarray, count: int
) -> np.ndarray:
    """(R, R): exact for a mean; to first order where the score is a function of the mean."""
    values_RN = np.stack([table[:, 0] for table in tables])
    means = values_RN.mean(axis=1)
    influence_RG = np.stack(
        [np.bincount(groups, row, count) for row in values_RN - means[:, None]]
    ) / len(groups)
    step = 1e-6 * np.maximum(np.abs(means), 1.0)
    slope = (metric.from_mean(means + step) - metric.from_mean(means - step)) / (2 * step)
    influence_RG *= slope[:, None]
    return np.asarray(influence_RG @ influence_RG.T * (count / (count - 1)))


def _weights(groups: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """(N,) how often each row stands in one resample of the groups."""
    drawn = np.bincount(random.integers(0, count, count), minlength=count)
    return np.asarray(drawn[groups])


def _resampled_counts(
    metric: Metric, runs: Sequence[Predicted], groups: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(B, R) scores of a counted metric: every resample is a product with the runs' cells."""
    classes = len(runs[0].classes)
    n, cells, count = len(runs[0]), classes**2, int(groups.max()) + 1
    where = [np.asarray(run.labels) * classes + np.asarray(run.predictions) for run in runs]
    ones, ends = np.ones(n, np.float32), np.arange(n + 1)
    # (N, cells) per run, transposed: the cell of every row
    tables = [sparse.csr_array((ones, cell, ends), shape=(n, cells)).T.tocsr() for cell in where]
    chunk = max(1, min(RESAMPLES, 4_000_000 // max(n, cells)))
    scores = np.empty((RESAMPLES, len(runs)))
    for start in range(0, RESAMPLES, chunk):
        stop = min(start + chunk, RESAMPLES)
        weights_NB = np.stack(
            [_weights(groups, count, random) for _ in range(start, stop)], axis=1
        ).astype(np.float32)
        for run, table in enumerate(tables):
            counts_BCC = (table @ weights_NB).T.reshape(-1, classes, classes)
            scores[start:stop, run] = metric.from_counts(counts_BCC.astype(np.float64))
    return scores


def _resampled_scores(
    metric: Metric, runs: Sequence[Predicted], groups: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(B, R) scores of any metric, by computing it again."""
    count = int(groups.max()) + 1
    scores = np.empty((SLOW_RESAMPLES, len(runs)))
    for index in range(SLOW_RESAMPLES):
        rows = np.repeat(np.arange(len(groups)), _weights(groups, count, random))
        for run, predicted in enumerate(runs):
            scores[index, run] = metric.score(predicted.take(rows))
    return scores
