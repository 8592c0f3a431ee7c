"""BERTScore recall: how much of the reference has a like in the text, by an encoder's embeddings.

Source: Zhang et al. 2020, arXiv 1904.09675, section 3; see `_bertscore.py`.
"""

from __future__ import annotations

import numpy as np

from tuneoff.metrics import Predicted
from tuneoff.metrics._bertscore import Bertscore


class BertscoreRecall(Bertscore):
    """Mean over texts of the BERTScore recall, the best over references."""

    title = "BERTScore recall"

    def values(self, rows: Predicted) -> np.ndarray:
        return self._matched(rows).scores[:, 1]
