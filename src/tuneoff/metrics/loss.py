"""Loss: mean cross-entropy in nats, per example or, for language, per labelled token."""

from __future__ import annotations

import math

import numpy as np

from tuneoff.metrics import Metric, Predicted


class Loss(Metric):
    """Sum of the losses of all labelled tokens / their number; lower is better."""

    title = "loss (nats)"
    needs = "losses"
    higher_is_better = False
    bounds = (0.0, math.inf)
    summed = True

    def statistics(self, rows: Predicted) -> np.ndarray:
        return np.stack([rows.losses * rows.tokens, rows.tokens], axis=1).astype(np.float64)

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        mean: np.ndarray = sums_BS[:, 0] / sums_BS[:, 1]
        return mean
