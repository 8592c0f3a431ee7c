"""Metrics: predictions -> score. One file each; the stem is the metric's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tuneoff.settings import Settings


class Metric(Settings):
    """One score, from whole columns of predictions (never averaged over batches)."""

    higher_is_better: ClassVar[bool] = True
    per_example: ClassVar[bool] = False
    """True when the score is a mean of per-example values (see `values`)."""

    def score(
        self, labels: np.ndarray, predictions: np.ndarray, losses: np.ndarray, classes: Sequence[str]
    ) -> Any:
        """A float, or plain JSON data for tables such as a confusion matrix.

        labels, predictions: (n,) int64 class indices; losses: (n,) float64 cross-entropy in nats.
        """
        raise NotImplementedError

    def values(
        self, labels: np.ndarray, predictions: np.ndarray, losses: np.ndarray, classes: Sequence[str]
    ) -> np.ndarray:
        """(n,) per-example values whose mean is the score."""
        raise NotImplementedError
