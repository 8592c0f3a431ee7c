"""Attention of an encoder-decoder's stacks in one forward: of a stack to itself, with a bias for
distances, and of what is said to what was read.

Axes: as in `t5.py`; K members (1 where all have one table), H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import Tensor

from tuneoff.backbones.sites import Bounds, Site
from tuneoff.training.attention import member_of_group
from tuneoff.training.layout import Layout, Side
from tuneoff.training.relative import added_at_the_end, added_to_scores
from tuneoff.training.sides import Places, attend_sides, one_per_sequence

Stack = Literal["encoder", "decoder"]


class Stacked(Protocol):
    """What is asked of a family."""

    heads: int
    scale: float
    rate: float
    own_tables: bool
    """Whether every block has a bias of its own (umT5); else all have that of the first."""

    def table(self, stack: Stack, index: int, members: int, reach: int) -> Tensor:
        """(K or 1, H, 2 reach - 1) the bias of each distance in a block; see `relative.table`."""


class Said(Protocol):
    """What the decoder's blocks need of the texts that they say."""

    layout: Layout
    bounds: Bounds

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor, last: bool) -> Tensor:
        """A block's self-attention, causal; last: one query at each sequence's end."""

    def look_up(self, q: Tensor, key: Site, value: Site, last: bool) -> Tensor:
        """Cross-attention, to what was read."""


def said_side(layout: Layout) -> Side:
    """What a decoder reads: targets, or the input once more."""
    return layout.read if layout.said is None else layout.said


class SelfAttention:
    """A stack's attention to itself. What all its blocks add to their scores is worked out once."""

    def __init__(self, family: Stacked, stack: Stack, layout: Layout):
        self.family, self.stack, self.layout = family, stack, layout
        self.side = layout.read if stack == "encoder" else said_side(layout)
        self.places = Places(self.side)
        self.owners = member_of_group(layout)  # groups of both sides are the same sequences
        # Here, and not when the first block asks: with gradient checkpointing that runs again.
        self.shared = None if family.own_tables else self._added(0)

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        added = self._added(index) if self.shared is None else self.shared
        return between(self.family, self.layout, q, k, v, self.places, self.places, added)

    def attend_at_ends(self, index: int, q: Tensor, k: Tensor, v: Tensor, ends: Places) -> Tensor:
        """One query at each sequence's end."""
        groups, lengths = self.side.groups, self.layout.lengths
        added = added_at_the_end(self._table(index), groups, self.owners, lengths)
        return between(self.family, self.layout, q, k, v, ends, self.places, added)

    def _table(self, index: int) -> Tensor:
        reach = max(1, *(group.length for group in self.side.groups))
        members = len(self.layout.token_bounds)
        return self.family.table(self.stack, index, members, reach)

    def _added(self, index: int) -> list[Tensor]:
        causal = self.stack == "decoder"
        return added_to_scores(self._table(index), self.side.groups, self.owners, causal)


class Speech:
    """`Said`, of whole texts. memory: (T, D) what the encoder says."""

    def __init__(self, family: Stacked, layout: Layout, memory: Tensor):
        self.family, self.layout, self.memory = family, layout, memory
        self.own = SelfAttention(family, "decoder", layout)
        self.bounds = self.own.side.bounds
        self.read = Places(layout.read)
        self.seen = [group.mask for group in layout.groups]
        self.ends = Places(one_per_sequence(layout))

    def attend(self, index: int, q: Tensor, k: Tensor, v: Tensor, last: bool) -> Tensor:
        if last:
            return self.own.attend_at_ends(index, q, k, v, self.ends)
        return self.own.attend(index, q, k, v)

    def look_up(self, q: Tensor, key: Site, value: Site, last: bool) -> Tensor:
        bounds = self.layout.token_bounds
        k, v = key(self.memory, bounds), value(self.memory, bounds)
        asking = self.ends if last else self.own.places
        return between(self.family, self.layout, q, k, v, asking, self.read, self.seen)


def between(
    family: Stacked,
    layout: Layout,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    asking: Places,
    asked: Places,
    added: Sequence[Tensor | None],
) -> Tensor:
    """`attend_sides` with a family's heads and rates."""
    return attend_sides(
        q,
        k,
        v,
        asking,
        asked,
        added,
        layout,
        family.heads,
        scale=family.scale,
        dropout=family.rate,
    )
