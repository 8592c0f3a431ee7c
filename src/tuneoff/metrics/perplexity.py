"""Perplexity: the exponential of the mean cross-entropy per token.

Every token weighs alike, however the text was cut into sequences; averaging sequences or batches
first would not do that (see `mean_batch_perplexity`).
"""

from __future__ import annotations

import math

import numpy as np

from tuneoff.metrics import Metric, Predicted
from tuneoff.metrics.loss import Loss


class Perplexity(Metric):
    """exp(mean loss in nats per labelled token); infinite where that overflows; lower is better."""

    needs = "losses"
    higher_is_better = False
    bounds = (1.0, math.inf)
    summed = True

    def statistics(self, rows: Predicted) -> np.ndarray:
        return Loss().statistics(rows)

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            perplexities: np.ndarray = np.exp(Loss().from_sums(sums_BS))
        return perplexities
