"""The physical floor of a training step: operations of the needed matrix products on real tokens,
over the rate at which this machine multiplies matrices of that size."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.workloads import SHAPES


def matrix_rate(hidden: int, rows: int = 800) -> float:
    """Floating-point operations per CPU second of (rows, hidden) x (hidden, 4 hidden), fp32, best
    of several."""
    a, w = torch.randn(rows, hidden), torch.randn(4 * hidden, hidden)
    best = 0.0
    for _ in range(8):
        started = time.process_time()
        for _ in range(8):
            torch.nn.functional.linear(a, w)
        best = max(best, 8 * 2 * a.numel() * 4 * hidden / (time.process_time() - started))
    return best


def needed(shape: str, lengths: np.ndarray, method: str) -> float:
    """Operations of one pass over the examples: `lora` (query and value) or `full`.

    Per token and block: 8 D^2 for query, key, value and output, 16 D^2 for the feed-forward, and
    4 L D for scores and their product with the values. In the last block of a classifier each head
    reads the tokens' states themselves (4 D), and everything else is one row per sequence. The
    backward pass repeats the forward products for the inputs (not into the embeddings, unless these
    are trained), and once more for trained weights.
    """
    layers, hidden = SHAPES[shape]
    tokens, sequences = float(lengths.sum()), len(lengths)
    attention = 4.0 * float((lengths.astype(float) ** 2).sum()) * hidden
    block = 24.0 * hidden**2 * tokens + attention
    last = 4.0 * hidden * (hidden // 64) * tokens + 24.0 * hidden**2 * sequences
    forward = (layers - 1) * block + last
    if method == "full":
        return 3.0 * forward
    into_embeddings = 6.0 * hidden**2 * tokens
    return 2.0 * forward - into_embeddings
