"""Accuracy: the share of examples whose prediction is the label."""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted


class Accuracy(Metric):
    """Right predictions / examples; 0 of no examples is not a number."""

    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return np.asarray(rows.labels == rows.predictions, np.float64)
