"""chrF: character n-grams that texts share with their references, over the whole corpus, 0 to 100.

Source: Popović 2015, https://aclanthology.org/W15-3049; computed by sacrebleu with its defaults
(1- to 6-grams, recall weighs twice), whose signature stands in the record.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.metrics import Metric, Predicted, _sacrebleu

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF


class Chrf(Metric):
    """F-score of the mean precision and the mean recall of character n-grams."""

    title = "chrF"
    needs = "texts"
    bounds = (0.0, 100.0)
    summed = True

    def statistics(self, rows: Predicted) -> np.ndarray:
        return _sacrebleu.statistics(_scorer(), rows)

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        return _sacrebleu.from_sums(_scorer(), sums_BS)

    def details(self, rows: Predicted) -> dict[str, Any]:
        return _sacrebleu.details(_scorer(), rows)


@lru_cache
def _scorer() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
