"""The best answer to a question over the windows of its context.

Source: `postprocess_qa_predictions` of transformers' `utils_qa.py`, without its empty answers.
Axes: L tokens of a window, N candidates for each end of a span.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """score: sum of the logits of the two ends; first, last: tokens of the window."""

    score: float
    first: int
    last: int


def best_span(
    logits_L2: np.ndarray, inside: tuple[int, int], n_best: int, longest: int
) -> Span | None:
    """The best span of a window whose ends are both among the `n_best` likeliest tokens, lie in
    the context (places [from, to) of the window) and make at most `longest` tokens; None where
    there is no such span."""
    starts, ends = (_likeliest(logits_L2[:, side], n_best) for side in (0, 1))
    lengths_NN = ends[None, :] - starts[:, None] + 1
    possible = (lengths_NN >= 1) & (lengths_NN <= longest)
    possible &= ((starts >= inside[0]) & (starts < inside[1]))[:, None]
    possible &= ((ends >= inside[0]) & (ends < inside[1]))[None, :]
    if not possible.any():
        return None
    scores_NN = logits_L2[starts, 0][:, None] + logits_L2[ends, 1][None, :]
    scores_NN = np.where(possible, scores_NN, -np.inf)
    row, column = np.unravel_index(int(scores_NN.argmax()), scores_NN.shape)
    return Span(float(scores_NN[row, column]), int(starts[row]), int(ends[column]))


def _likeliest(logits_L: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-logits_L, kind="stable")[:count]
