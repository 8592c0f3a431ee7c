"""Token F1: how many words an answer shares with the nearest right one.

Source: SQuAD v1.1's script, `evaluate-v1.1.py` (arXiv 1606.05250); it prints percent.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted, _squad


class TokenF1(Metric):
    """Mean over answers of the F1 of their words, the best over references."""

    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return _squad.best(_squad.overlap, rows)
