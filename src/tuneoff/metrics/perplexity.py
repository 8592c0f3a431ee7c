"""Perplexity: the exponential of the mean cross-entropy per token.

A language model's losses are one per token, so the mean weighs every token alike, however the
text was cut into sequences; averaging sequences or batches first would not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneoff.metrics import Metric


class Perplexity(Metric):
    """exp(mean loss in nats); infinite where that overflows; lower is better."""

    higher_is_better = False
    bounds = (1.0, math.inf)
    per_example = True

    def values(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> np.ndarray:
        return np.asarray(losses, np.float64)

    def from_mean(self, mean: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            perplexities: np.ndarray = np.exp(mean)
        return perplexities
