"""ROUGE by Google's `rouge-score` package: F1 of overlaps, words stemmed by Porter's algorithm.

Source: Lin 2004, https://aclanthology.org/W04-1013; the package is
https://github.com/google-research/google-research/tree/master/rouge. Words are runs of a-z and
0-9 in lower case; of several references the one with the greatest F1 counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tuneoff.metrics.predicted_rows import Predicted

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


class _Words:
    """The package's own words; a text that several ROUGE metrics read is stemmed once."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self.tokenize = lru_cache(maxsize=65536)(DefaultTokenizer(use_stemmer=True).tokenize)


@lru_cache
def _words() -> _Words:
    return _Words()


def f_measures(
    kind: str, rows: Predicted, prepared: Callable[[str], str] = lambda text: text
) -> np.ndarray:
    """(n,) F1 of each text against its references; 0 for a row that has none.

    kind: the package's name of the measure; prepared: what is done to texts first.
    """
    from rouge_score.rouge_scorer import RougeScorer

    assert rows.texts is not None
    assert rows.references is not None
    scorer = RougeScorer([kind], tokenizer=_words())
    pairs = zip(rows.texts, rows.references, strict=True)
    return np.array(
        [_best(scorer, kind, prepared(text), [*map(prepared, many)]) for text, many in pairs]
    )


def _best(scorer: RougeScorer, kind: str, text: str, references: list[str]) -> float:
    return float(scorer.score_multi(references, text)[kind].fmeasure) if references else 0.0


def in_lines(text: str) -> str:
    """One sentence per line, where a text has no lines of its own.

    ROUGE-Lsum wants its sentences so. They are told apart by Punkt without a trained model, which
    needs no download. Source: Kiss and Strunk 2006, https://aclanthology.org/J06-4003
    """
    if "\n" in text.strip():
        return text
    return "\n".join(_punkt().tokenize(text.strip()))


@lru_cache
def _punkt():  # type: ignore[no-untyped-def]
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    return PunktSentenceTokenizer()
