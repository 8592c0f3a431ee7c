"""Weighted F1: the mean of the classes' F1, each weighing as it occurs in the labels."""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import class_scores, divide


class WeightedF1(Metric):
    """Sum of F1 x support / examples."""

    bounds = (0.0, 1.0)
    counted = True

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        scores = class_scores(counts_BCC)
        return divide((scores.f1 * scores.support).sum(-1), scores.support.sum(-1))
