"""ROUGE-2: how many pairs of adjacent words a text shares with its reference.

Source: Lin 2004, https://aclanthology.org/W04-1013; computed by `rouge-score`, stemming on.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted, _rouge


class Rouge2(Metric):
    """Mean over texts of the F1 of pairs of adjacent words in common."""

    title = "ROUGE-2"
    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return _rouge.f_measures("rouge2", rows)
