"""Confusion matrices, and precision, recall and F1 from them.

Letters: B matrices, C classes. A matrix holds labels by predictions: counts[label, prediction].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) int64 counts."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise, and 0 where the denominator is 0 (scikit-learn's `zero_division=0`)."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    quotient: np.ndarray = np.divide(
        numerator, denominator, out=np.zeros(shape), where=np.asarray(denominator) != 0
    )
    return quotient


class ClassScores(NamedTuple):
    """Of each class, (..., C): the F1 is 0 where it is undefined."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    """How often the class stands in the labels."""
    present: np.ndarray
    """True where the class stands in the labels or the predictions."""


def class_scores(counts_BCC: np.ndarray) -> ClassScores:
    """Precision, recall, F1 from (..., C, C) counts."""
    right = np.diagonal(counts_BCC, axis1=-2, axis2=-1)
    support, predicted = counts_BCC.sum(-1), counts_BCC.sum(-2)
    return ClassScores(
        precision=divide(right, predicted),
        recall=divide(right, support),
        f1=divide(2 * right, support + predicted),
        support=support,
        present=support + predicted > 0,
    )
