"""Metrics: predictions -> score. One file each; the stem is the metric's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from tuneoff import registry
from tuneoff.metrics._counts import confusion
from tuneoff.settings import Settings


class Metric(Settings):
    """One score, from whole columns of predictions (never averaged over batches).

    Subclasses define one of `values` (with `per_example`), `from_counts` (with `counted`) or
    `score`. The first two also let `tuneoff.statistics` draw test rows again quickly.

    The columns: labels, predictions: (n,) int64 class indices; losses: (n,) float64 cross-entropy
    in nats; classes: names by index. A language model's rows are its labelled tokens.
    """

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The least and the greatest score that can be."""
    per_example: ClassVar[bool] = False
    """True when the score is `from_mean` of the mean of per-example `values`."""
    counted: ClassVar[bool] = False
    """True when the score is `from_counts` of the confusion matrix."""

    def score(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> Any:
        """A float, or plain JSON data for tables such as a confusion matrix."""
        if self.per_example:
            mean = np.mean(self.values(labels, predictions, losses, classes), keepdims=True)
            return float(self.from_mean(mean)[0])
        counts = confusion(labels, predictions, len(classes))
        return float(self.from_counts(counts[None])[0])

    def values(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> np.ndarray:
        """(n,) per-example values whose mean gives the score."""
        raise NotImplementedError

    def from_mean(self, mean: np.ndarray) -> np.ndarray:
        """The scores of means of `values`, elementwise."""
        return mean

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        """(B,) scores of B confusion matrices, labels by predictions, whole or weighted counts."""
        raise NotImplementedError


def evaluate(
    names: Iterable[str],
    labels: np.ndarray,
    predictions: np.ndarray,
    losses: np.ndarray,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Scores by metric name, as they stand in a line of the ledger.

    labels, predictions: (n,) int class indices; losses: (n,) nats. Raises TuneoffError for a
    metric that is not known, before anything is computed.
    """
    metrics = {name: registry.get("metrics", name)() for name in names}
    return {
        name: metric.score(labels, predictions, losses, classes) for name, metric in metrics.items()
    }
