"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneoff.metrics import Metric
from tuneoff.metrics._counts import class_scores, confusion


class PerClass(Metric):
    """`{class: {precision, recall, f1, support}}`; what is undefined is 0; a table."""

    def score(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        losses: np.ndarray,
        classes: Sequence[str],
    ) -> dict[str, dict[str, float]]:
        scores = class_scores(confusion(labels, predictions, len(classes)))
        return {
            name: {
                "precision": float(scores.precision[index]),
                "recall": float(scores.recall[index]),
                "f1": float(scores.f1[index]),
                "support": int(scores.support[index]),
            }
            for index, name in enumerate(classes)
        }
