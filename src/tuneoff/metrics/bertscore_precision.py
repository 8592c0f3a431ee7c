"""BERTScore precision: how much of a text has a like in its reference, by an encoder's embeddings.

Source: Zhang et al. 2020, arXiv 1904.09675, section 3; see `_bertscore.py`.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Predicted
from tuneoff.metrics._bertscore import Bertscore


class BertscorePrecision(Bertscore):
    """Mean over texts of the BERTScore precision, the best over references."""

    title = "BERTScore precision"

    def values(self, rows: Predicted) -> np.ndarray:
        return self._matched(rows).scores[:, 0]
