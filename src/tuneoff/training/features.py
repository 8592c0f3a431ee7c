"""A split as the engine reads it: token ids end to end in one flat array, never padded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["example", "token", "span", "sequence"]


@dataclass(frozen=True)
class Features:
    """n examples of T tokens in all.

    tokens: (T,) int32, memory-mapped when large; offsets: (n + 1,) int64, example i is
    tokens[offsets[i]:offsets[i + 1]]. No example is empty.
    token_type: (T,) uint8 segment ids, or None when all are zero.
    targets, by `form`:
      example   (n,) int64, a class for each example (classification);
      token     (T,) int64, -100 where there is no loss (decoders; already shifted: targets[t] is
                what the model should say after reading token t);
      span      (n, 2) int64, the first and last token of the answer, places in the example;
      sequence  (U,) int64 end to end, what a decoder should say token by token, example i in
                targets[target_offsets[i]:target_offsets[i + 1]] (encoder-decoders).
    extras: one row per example of what a task needs to make and judge answers (prompts,
    references, offsets into the text), or None; memory-mapped.
    truncated: rows that were cut to the longest length; cut: what was cut -> rows; left_out:
    reason -> rows or blocks that gave no example; noted: what else was done to rows -> how many;
    fingerprint: hash of what the features were made from.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    token_type: np.ndarray | None = None
    truncated: int = 0
    cut: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    form: Form = "example"
    target_offsets: np.ndarray | None = None
    extras: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64 tokens per example."""
        return np.diff(self.offsets)

    @property
    def per_token(self) -> bool:
        """True when the loss is one per labelled token."""
        return self.form in ("token", "sequence")

    def labelled(self, rows: np.ndarray) -> np.ndarray:
        """How many tokens of these examples have a loss; ones where an example has one loss."""
        if not self.per_token:
            return np.ones(len(rows), np.int64)
        ends = self.offsets if self.target_offsets is None else self.target_offsets
        return np.array(
            [int((self.targets[ends[row] : ends[row + 1]] != -100).sum()) for row in rows], np.int64
        )

    def take(self, rows: np.ndarray) -> Features:
        """These examples alone, in memory."""
        offsets, places = _places(self.offsets, rows)
        targets, target_offsets = self.targets, self.target_offsets
        if target_offsets is not None:
            target_offsets, target_places = _places(target_offsets, rows)
            targets = targets[target_places]
        else:
            targets = targets[places] if self.form == "token" else targets[rows]
        return replace(
            self,
            tokens=self.tokens[places],
            offsets=offsets,
            targets=targets,
            token_type=None if self.token_type is None else self.token_type[places],
            target_offsets=target_offsets,
            extras=None if self.extras is None else self.extras.take(rows),
        )


def _places(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New offsets of some examples, and where their tokens stand."""
    lengths = np.diff(offsets)[rows]
    new = np.concatenate([[0], np.cumsum(lengths)])
    return new, np.repeat(offsets[rows] - new[:-1], lengths) + np.arange(new[-1])
