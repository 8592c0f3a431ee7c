"""Metrics: predictions -> score. One file each; the stem is the metric's name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np

from tuneoff import registry
from tuneoff.metrics.predicted_rows import Predicted
from tuneoff.settings import Settings

__all__ = ["Metric", "Predicted", "evaluate"]

Needs = Literal["losses", "classes", "texts"]


class Metric(Settings):
    """One score, from whole columns of predictions (never averaged over batches).

    Subclasses define one of `values` (with `per_example`), `from_counts` (with `counted`),
    `statistics` and `from_sums` (with `summed`) or `score`. All but the last also let
    `tuneoff.statistics` draw test rows again quickly.
    """

    needs: ClassVar[Needs] = "classes"
    """What rows must have: their loss, a class, or a text beside its references."""
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The least and the greatest score that can be."""
    per_example: ClassVar[bool] = False
    """True when the score is `from_mean` of the mean of per-example `values`."""
    counted: ClassVar[bool] = False
    """True when the score is `from_counts` of the confusion matrix."""
    summed: ClassVar[bool] = False
    """True when the score is `from_sums` of the sum of per-example `statistics`."""

    def score(self, rows: Predicted) -> Any:
        """A float, or plain JSON data for tables such as a confusion matrix."""
        if self.per_example:
            return float(self.from_mean(np.mean(self.values(rows), keepdims=True))[0])
        if self.summed:
            return float(self.from_sums(self.statistics(rows).sum(0, keepdims=True))[0])
        counts = rows.confusion()
        return float(self.from_counts(counts[None])[0])

    def values(self, rows: Predicted) -> np.ndarray:
        """(n,) per-example values whose mean gives the score."""
        raise NotImplementedError

    def from_mean(self, mean: np.ndarray) -> np.ndarray:
        """The scores of means of `values`, elementwise."""
        return mean

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        """(B,) scores of B confusion matrices, labels by predictions, whole or weighted counts."""
        raise NotImplementedError

    def statistics(self, rows: Predicted) -> np.ndarray:
        """(n, s) float64 of each row, which add up over rows: matches and lengths, say."""
        raise NotImplementedError

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        """(B,) scores of B sums of `statistics`."""
        raise NotImplementedError


def evaluate(names: Iterable[str], rows: Predicted) -> dict[str, Any]:
    """Scores by metric name, as they stand in a line of the ledger.

    Metrics that need what the rows do not have (texts that were not generated) are left out.
    Raises TuneoffError for a metric that is not known, before anything is computed.
    """
    metrics = {name: registry.get("metrics", name)() for name in names}
    return {name: metric.score(rows) for name, metric in metrics.items() if rows.has(metric.needs)}
