"""Confusion matrix: how often each class was taken for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import confusion


class ConfusionMatrix(Metric):
    """Counts, a list of rows by label, each a list by prediction; a table, not for comparison."""

    def score(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> list[list[int]]:
        table: list[list[int]] = confusion(labels, predictions, len(classes)).tolist()
        return table
