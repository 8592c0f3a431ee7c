"""Corpus scores of sacrebleu from statistics of single texts, which add up.

Source: Post 2018, https://aclanthology.org/W18-6319; https://github.com/mjpost/sacrebleu. The
package extracts statistics text by text and sums them itself: the methods used here are the steps
of its `corpus_score`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.metrics.predicted_rows import Predicted

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF


def statistics(scorer: BLEU | CHRF, rows: Predicted) -> np.ndarray:
    """(n, s) counts of each text: matches, n-grams, lengths."""
    assert rows.texts is not None
    return np.array(scorer._extract_corpus_statistics(list(rows.texts), _streams(rows)), np.float64)


def from_sums(scorer: BLEU | CHRF, sums_BS: np.ndarray) -> np.ndarray:
    """(B,) corpus scores, 0 to 100."""
    found = [scorer._compute_score_from_stats(sums.tolist()).score for sums in sums_BS]
    return np.array(found, np.float64)


def details(scorer: BLEU | CHRF, rows: Predicted) -> dict[str, Any]:
    """The signature, which says how scores are computed: `nrefs:1|case:mixed|...|version:2.6.0`."""
    scorer._cache_references(_streams(rows))
    return {"signature": scorer.get_signature().format()}


def _streams(rows: Predicted) -> list[list[Any]]:
    """References as sacrebleu takes them: the first of every text, the second, ...; None where a
    text has fewer."""
    assert rows.references is not None
    most = max((len(many) for many in rows.references), default=0)
    return [
        [many[place] if place < len(many) else None for many in rows.references]
        for place in range(most)
    ]
