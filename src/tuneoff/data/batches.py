"""Which examples stand in which batch: the same on every machine, platform and library version.

for batch in batches(n, 16, seed=0, epoch=2):          # one optimizer step each
    for part in micro_batches(batch, lengths, max_examples=4):  # one forward pass each
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def order(n: int, seed: int, epoch: int) -> np.ndarray:
    """(n,) int64: the order of the examples in an epoch.

    Examples are sorted by raw Philox words with (seed, epoch) as key: numpy promises the raw
    stream of a bit generator for good, but not what `permutation` makes of it (NEP 19).
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(n)
    return np.argsort(words, kind="stable")


def batch_count(n: int, batch_size: int) -> int:
    """Batches in an epoch of n examples; the last may be smaller."""
    return -(-n // batch_size)


def batches(n: int, batch_size: int, seed: int, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
    """Index arrays of an epoch's batches, from batch `first` on; the last, partial one is kept."""
    indices = order(n, seed, epoch)
    for start in range(first * batch_size, n, batch_size):
        yield indices[start : start + batch_size]


def micro_batches(
    indices: np.ndarray,
    lengths: np.ndarray,
    max_examples: int | None = None,
    max_tokens: int | None = None,
) -> list[np.ndarray]:
    """A batch cut into parts of examples of like length, longest first.

    indices: (b,) examples of the batch; lengths: (n,) tokens of every example of the split.
    max_tokens bounds a part's size when padded to its longest example, so it bounds the unpadded
    size too; an example that is longer than max_tokens stands alone. Longest first, so that what
    does not fit in memory shows at once.
    """
    if max_examples is not None and max_examples < 1:
        raise ValueError(f"max_examples must be at least 1, got {max_examples}")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    by_length = indices[np.argsort(-lengths[indices], kind="stable")]
    parts = []
    start = 0
    while start < len(by_length):
        size = len(by_length) - start
        if max_examples is not None:
            size = min(size, max_examples)
        if max_tokens is not None:
            longest = max(int(lengths[by_length[start]]), 1)
            size = min(size, max(max_tokens // longest, 1))
        parts.append(by_length[start : start + size])
        start += size
    return parts
