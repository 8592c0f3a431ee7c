"""BLEU: n-grams that texts share with their references, over the whole corpus, 0 to 100.

Source: Papineni et al. 2002, https://aclanthology.org/P02-1040; computed by sacrebleu with its
defaults (words by `13a`, exponential smoothing), whose signature stands in the record.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.metrics import Metric, Predicted, _sacrebleu

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


class Bleu(Metric):
    """Geometric mean of the precisions of 1- to 4-grams, times the penalty on short texts."""

    title = "BLEU"
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
def _scorer() -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(force=True)  # no warning about text that looks tokenized
