"""Macro F1: the mean of the classes' F1, each class weighing alike."""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import class_scores, divide


class MacroF1(Metric):
    """Mean over the classes that stand in the labels or the predictions, as scikit-learn does."""

    bounds = (0.0, 1.0)
    counted = True

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        scores = class_scores(counts_BCC)
        return divide(scores.f1.sum(-1), scores.present.sum(-1))
