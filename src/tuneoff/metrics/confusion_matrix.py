"""Confusion matrix: how often each class was taken for each."""

from __future__ import annotations

from tuneoff.metrics import Metric, Predicted


class ConfusionMatrix(Metric):
    """Counts, a list of rows by label, each a list by prediction; a table, not for comparison."""

    def score(self, rows: Predicted) -> list[list[int]]:
        table: list[list[int]] = rows.confusion().tolist()
        return table
