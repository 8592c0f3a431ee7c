"""Answers to questions as SQuAD v1.1's script compares them.

Source: the official `evaluate-v1.1.py` of Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1:
lower case, without punctuation, articles and superfluous white space; the best over all references.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

import numpy as np

from tuneoff.metrics.predicted_rows import Predicted

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """`The  Cat!` -> `cat`."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, reference: str) -> float:
    """1 when both say the same."""
    return float(normalized(answer) == normalized(reference))


def overlap(answer: str, reference: str) -> float:
    """F1 of the words in common; 0 when there are none, also of two empty answers."""
    found, wanted = normalized(answer).split(), normalized(reference).split()
    common = (Counter(found) & Counter(wanted)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best(compare: Callable[[str, str], float], rows: Predicted) -> np.ndarray:
    """(n,) the greatest over each row's references; 0 for a row that has none."""
    assert rows.texts is not None
    assert rows.references is not None
    pairs = zip(rows.texts, rows.references, strict=True)
    return np.array(
        [max((compare(text, one) for one in many), default=0.0) for text, many in pairs], np.float64
    )
