"""Attention from the tokens of one side to those of the same or another, with what is added to the
scores: the attention of encoder-decoders, padding-free.

Groups of one side are the other's, sequence for sequence. All groups of a side are padded by one
gather, so that each group is one call of PyTorch's scaled dot-product attention.

Axes: U tokens of a side, P padded places of all its groups, B sequences of a group, L and M longest
of them on the asking and on the asked side, H heads, E features per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tuneoff.training.attention import member_of_group, of_one_type
from tuneoff.training.layout import Group, Layout, Side


class Places:
    """Where a side's tokens stand when each of its groups is padded, all groups end to end."""

    def __init__(self, side: Side):
        self.groups = side.groups
        self.sizes = [group.size * group.length for group in side.groups]
        self.count = sum(self.sizes)
        self.whole = all(group.gather is None for group in side.groups)
        """Whether nothing is padded."""
        if self.whole:
            return
        device = side.positions.device
        gathers, scatters, before = [], [], 0
        for group, size in zip(side.groups, self.sizes, strict=True):
            tokens = torch.arange(group.start, group.end, device=device)
            gathers.append(tokens if group.gather is None else group.gather)
            own = tokens - group.start if group.scatter is None else group.scatter
            scatters.append(own + before)
            before += size
        self.gather, self.scatter = torch.cat(gathers), torch.cat(scatters)

    def spread(self, x: Tensor, heads: int) -> list[Tensor]:
        """(U, H * E) -> a (B, H, L, E) view per group; padding holds any token of the group."""
        if not self.whole:
            x = _Spread.apply(x, self.gather, self.scatter)  # type: ignore[no-untyped-call]
        width = x.shape[1] // heads
        return [
            part.view(group.size, group.length, heads, width).transpose(1, 2)
            for group, part in zip(self.groups, x.split(self.sizes), strict=True)
        ]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The other way: (B, H, L, E) per group -> (U, H * E)."""
        flat = [part.transpose(1, 2).reshape(-1, part.shape[1] * part.shape[3]) for part in parts]
        x = flat[0] if len(flat) == 1 else torch.cat(flat)
        if self.whole:
            return x
        joined: Tensor = _Join.apply(x, self.scatter)  # type: ignore[no-untyped-call]
        return joined


class _Spread(torch.autograd.Function):
    """Rows to padded places. What comes back for padding is nothing: no key there has a weight,
    and no query's answer is kept. So the gradient is a gather, too, and not a sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gather: Tensor, scatter: Tensor) -> Tensor:
        ctx.scatter = scatter
        return x.index_select(0, gather)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.index_select(0, ctx.scatter), None, None


class _Join(torch.autograd.Function):
    """Padded places to rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scatter: Tensor) -> Tensor:
        ctx.scatter, ctx.count = scatter, len(x)
        return x.index_select(0, scatter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        padded = grad.new_zeros((ctx.count, grad.shape[1]))
        padded[ctx.scatter] = grad
        return padded, None


def attend_sides(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    asking: Places,
    asked: Places,
    added: Sequence[Tensor | None],
    layout: Layout,
    heads: int,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(q k' * scale + added) v inside each sequence.

    q: (U, H * E) of the asking side; k, v: of the asked side; added: per group (B or 1, H or 1,
    L or 1, M), with -inf where nothing is to be seen, or None -> (U, H * E).
    """
    q, k, v = of_one_type(q, k, v)
    parts = []
    drops = layout.attention_dropout(dropout)
    owners = member_of_group(layout) if drops else [0] * len(asking.groups)
    for qg, kg, vg, mask, member in zip(
        asking.spread(q, heads),
        asked.spread(k, heads),
        asked.spread(v, heads),
        added,
        owners,
        strict=True,
    ):
        rate = layout.rate(member, dropout) if drops else 0.0
        mask = None if mask is None else mask.to(qg.dtype)
        if qg.shape[2] == 0:  # a text of which nothing is said
            parts.append(qg)
        elif rate == 0.0:
            parts.append(F.scaled_dot_product_attention(qg, kg, vg, attn_mask=mask, scale=scale))
        else:
            assert layout.streams is not None
            scores = torch.matmul(qg, kg.transpose(-1, -2))
            scores = scores if scale == 1.0 else scores * scale
            scores = scores if mask is None else scores + mask
            wide = torch.float32 if scores.dtype.itemsize < 4 else scores.dtype
            weights = torch.softmax(scores, -1, dtype=wide).to(qg.dtype)
            parts.append(torch.matmul(layout.streams[member].dropout(weights, rate), vg))
    return asking.join(parts)


def one_per_sequence(layout: Layout) -> Side:
    """A side of one token per sequence, each at its sequence's end."""
    return Side(
        layout.lengths - 1,
        layout.sequence_bounds,
        [
            Group(one.first, one.last, one.first, one.last, one.size, 1, None, None, None)
            for one in layout.groups
        ],
    )
