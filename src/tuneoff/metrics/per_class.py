"""Precision, recall and F1 of each class."""

from __future__ import annotations

from tuneoff.metrics import Metric, Predicted
from tuneoff.metrics._counts import class_scores


class PerClass(Metric):
    """`{class: {precision, recall, f1, support}}`; what is undefined is 0; a table."""

    def score(self, rows: Predicted) -> dict[str, dict[str, float]]:
        scores = class_scores(rows.confusion())
        return {
            name: {
                "precision": float(scores.precision[index]),
                "recall": float(scores.recall[index]),
                "f1": float(scores.f1[index]),
                "support": int(scores.support[index]),
            }
            for index, name in enumerate(rows.classes)
        }
