"""Matthews correlation of labels and predictions, for any number of classes."""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import divide


class Matthews(Metric):
    """Covariance of labels and predictions / their deviations; 0 where one of them is constant.

    Source: Gorodkin 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006 (R_K).
    """

    title = "Matthews correlation"
    bounds = (-1.0, 1.0)
    counted = True

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        counts_BCC = counts_BCC.astype(np.float64)  # fourth powers of n overflow int64
        total = counts_BCC.sum((-2, -1))
        labels, predictions = counts_BCC.sum(-1), counts_BCC.sum(-2)
        right = np.trace(counts_BCC, axis1=-2, axis2=-1)
        covariance = right * total - (labels * predictions).sum(-1)
        spread = (total**2 - (labels**2).sum(-1)) * (total**2 - (predictions**2).sum(-1))
        return divide(covariance, np.sqrt(spread))
