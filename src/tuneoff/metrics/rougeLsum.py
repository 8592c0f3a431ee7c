"""ROUGE-Lsum: longest common subsequences, sentence by sentence.

A line is a sentence. A text without line breaks is split into sentences first, as the summarization
scripts of Hugging Face do; with a single line ROUGE-Lsum would be ROUGE-L.
Source: Lin 2004, https://aclanthology.org/W04-1013; computed by `rouge-score`, stemming on.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Metric, Predicted, _rouge


class RougeLsum(Metric):
    """Mean over texts of the F1 of words in common subsequences, joined for each sentence."""

    title = "ROUGE-Lsum"
    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True

    def values(self, rows: Predicted) -> np.ndarray:
        return _rouge.f_measures("rougeLsum", rows, _rouge.in_lines)
