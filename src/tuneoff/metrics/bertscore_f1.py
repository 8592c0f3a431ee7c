"""BERTScore F1: how well a text and its reference match, word by word, by an encoder's embeddings.

Source: Zhang et al. 2020, arXiv 1904.09675, section 3; see `_bertscore.py`.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Predicted
from tuneoff.metrics._bertscore import Bertscore


class BertscoreF1(Bertscore):
    """Mean over texts of the BERTScore F1, the best over references."""

    title = "BERTScore F1"

    def values(self, rows: Predicted) -> np.ndarray:
        return self._matched(rows).scores[:, 2]
