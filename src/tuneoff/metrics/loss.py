"""Loss: mean cross-entropy in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneoff.metrics import Metric


class Loss(Metric):
    """Mean of the examples' cross-entropy; lower is better."""

    higher_is_better = False
    bounds = (0.0, math.inf)
    per_example = True

    def values(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> np.ndarray:
        return np.asarray(losses, np.float64)
