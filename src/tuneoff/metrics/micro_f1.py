"""Micro F1: F1 of all classes' counts together; with one label per example it is the accuracy."""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import divide


class MicroF1(Metric):
    """2 right / (labels + predictions), counted over all classes."""

    bounds = (0.0, 1.0)
    counted = True

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        right = np.trace(counts_BCC, axis1=-2, axis2=-1)
        return divide(right, counts_BCC.sum((-2, -1)))
