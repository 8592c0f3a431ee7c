"""Exact match: the share of answers that are one of the right ones, but for case, articles and
punctuation.

Source: SQuAD v1.1's script, `evaluate-v1.1.py` (arXiv 1606.05250); it prints percent.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted, _squad


class ExactMatch(Metric):
    """Answers that equal a reference / answers."""

    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return _squad.best(_squad.exact, rows)
