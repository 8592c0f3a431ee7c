"""A split as the engine reads it: token ids end to end in one flat array, never padded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Features:
    """n examples of T tokens in all.

    tokens: (T,) int32, memory-mapped when large; offsets: (n + 1,) int64, example i is
    tokens[offsets[i]:offsets[i + 1]]. No example is empty.
    token_type: (T,) uint8 segment ids, or None when all are zero.
    targets: (n,) int64 per-example targets (classification), or (T,) int64 per-token targets with
    -100 where there is no loss (language modelling; already shifted: targets[t] is what the model
    should say after reading token t, and an example has at least two tokens).
    truncated: rows that were cut to the longest length; left_out: reason -> rows or blocks that
    gave no example; fingerprint: hash of what the features were made from.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    token_type: np.ndarray | None = None
    truncated: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64 tokens per example."""
        return np.diff(self.offsets)

    @property
    def per_token(self) -> bool:
        """True when targets are per token."""
        return len(self.targets) == len(self.tokens) and len(self.tokens) != len(self)
