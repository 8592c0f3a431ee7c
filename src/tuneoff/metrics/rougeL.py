"""ROUGE-L: the longest common subsequence of a text and its reference, read as one sentence.

Source: Lin 2004, https://aclanthology.org/W04-1013; computed by `rouge-score`, stemming on.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted, _rouge


class RougeL(Metric):
    """Mean over texts of the F1 of the longest common subsequence of words."""

    title = "ROUGE-L"
    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return _rouge.f_measures("rougeL", rows)
