"""Accuracy: the share of examples whose prediction is the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneoff.metrics import Metric


class Accuracy(Metric):
    """Right predictions / examples; 0 of no examples is not a number."""

    bounds = (0.0, 1.0)
    per_example = True

    def values(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> np.ndarray:
        return np.asarray(labels == predictions, np.float64)
