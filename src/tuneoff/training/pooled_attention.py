"""Attention of one query per sequence, without keys and values of the tokens.

A classifier's last block asks for the pooled token alone. Its scores are q (W x_t) = (q W) x_t, and
its answer is sum_t w_t (V x_t) = V (sum_t w_t x_t): the projections move from every token to the
one query, and the weights of keys and values get their gradients there too. The keys' bias adds the
same to all scores of a query, so that it falls out of the softmax.

Axes: S sequences (one query each), T tokens, B sequences of a group, L tokens of its longest,
H heads, E features per head, D features of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tuneoff.backbones.sites import Affine
from tuneoff.training.attention import last_window, member_of_group, take
from tuneoff.training.layout import Group, Layout


def attend_pooled(
    q_SI: Tensor,
    x_TD: Tensor,
    keys: Sequence[Affine],
    values: Sequence[Affine],
    layout: Layout,
    heads: int,
    *,
    scale: float,
    dropout: float = 0.0,
    window: int | None = None,
) -> Tensor:
    """(S, H * E): as `attend` with one query per sequence. x_TD: what keys and values are made of;
    keys, values: (H * E, D) weight and (H * E,) bias of each member."""
    bounds = layout.sequence_bounds
    asked = [
        _by_head(q_SI[start:end], heads) @ weight.unflatten(0, (heads, -1))
        for (start, end), (weight, _) in zip(bounds, keys, strict=True)
    ]
    dropped = layout.attention_dropout(dropout)
    mean_SHD, sum_SH = _Pooled.apply(  # type: ignore[no-untyped-call]
        _joined(asked).transpose(0, 1).contiguous(),
        x_TD,
        layout.groups,
        scale,
        [_unseen(group, window, x_TD) for group in layout.groups],
        _drops(layout, heads, dropout, x_TD) if dropped else [None] * len(layout.groups),
    )
    parts = []
    for (start, end), (weight, bias) in zip(bounds, values, strict=True):
        part = mean_SHD[start:end].transpose(0, 1) @ weight.unflatten(0, (heads, -1)).mT
        if bias is not None:  # weights sum to one, but for those that dropout takes
            share = sum_SH[start:end].T[..., None] if dropped else 1.0
            part = part + bias.view(heads, 1, -1) * share
        parts.append(part)
    return _joined(parts).transpose(0, 1).flatten(1)


def pools(layout: Layout, x: Tensor) -> bool:
    """Whether `attend_pooled` may stand in: on a CPU in full precision, and where nothing keeps the
    keys for new tokens. On a GPU the products are cheaper than the kernels that it adds."""
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and x.dtype in (torch.float32, torch.float64) and layout.cache is None


class _Pooled(torch.autograd.Function):
    """(S, H, D) sums of each sequence's tokens by their weights, and (S, H) sums of the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        asked_SHD: Tensor,
        x_TD: Tensor,
        groups: list[Group],
        scale: float,
        unseen: list[Tensor | None],
        drops: list[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        mean, total = torch.empty_like(asked_SHD), asked_SHD.new_empty(asked_SHD.shape[:2])
        ctx.weights = []
        for group, mask, drop in zip(groups, unseen, drops, strict=True):
            rows = slice(group.first, group.last)
            x_BLD = _rows(x_TD, group)
            scores = (asked_SHD[rows] @ x_BLD.mT).mul_(scale)
            weights = torch.softmax(scores if mask is None else scores.add_(mask), -1)
            used = weights if drop is None else weights * drop
            torch.bmm(used, x_BLD, out=mean[rows])
            torch.sum(used, -1, out=total[rows])
            ctx.weights.append((weights, used))
        ctx.save_for_backward(asked_SHD, x_TD)
        ctx.groups, ctx.scale, ctx.drops = groups, scale, drops
        return mean, total

    @staticmethod
    def backward(ctx: Any, dmean_SHD: Tensor, dtotal_SH: Tensor) -> tuple[Any, ...]:
        asked_SHD, x_TD = ctx.saved_tensors
        dmean_SHD = dmean_SHD.contiguous()
        dasked = torch.empty_like(asked_SHD)
        dx = torch.empty_like(x_TD) if ctx.needs_input_grad[1] else None
        for group, (weights, used), drop in zip(ctx.groups, ctx.weights, ctx.drops, strict=True):
            rows = slice(group.first, group.last)
            x_BLD, dmean = _rows(x_TD, group), dmean_SHD[rows]
            dused = (dmean @ x_BLD.mT).add_(dtotal_SH[rows, :, None])
            dweights = dused if drop is None else dused.mul_(drop)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dscores.mul_(ctx.scale)
            torch.bmm(dscores, x_BLD, out=dasked[rows])
            if dx is not None:
                flat = (dscores.mT @ asked_SHD[rows]).baddbmm_(used.mT, dmean).flatten(0, 1)
                tokens = slice(group.start, group.end)
                dx[tokens] = flat if group.scatter is None else flat[group.scatter]
        ctx.weights = None
        return dasked, dx, None, None, None, None


def _rows(x_TD: Tensor, group: Group) -> Tensor:
    """(B, L, D)."""
    rows: Tensor = take(x_TD, group).view(group.size, group.length, -1)
    return rows


def _by_head(x_SI: Tensor, heads: int) -> Tensor:
    """(S, H * E) -> (H, S, E)."""
    return x_SI.view(len(x_SI), heads, -1).transpose(0, 1)


def _joined(parts: list[Tensor]) -> Tensor:
    """(H, S, ...) of all members."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _unseen(group: Group, window: int | None, like: Tensor) -> Tensor | None:
    """(B, 1, L): -inf at padding, and in front of a window."""
    if window is not None and group.length > window:
        return last_window(group, window, like)[:, 0]
    return None if group.mask is None else group.mask[:, 0].to(like.dtype)


def _drops(layout: Layout, heads: int, dropout: float, like: Tensor) -> list[Tensor | None]:
    """(B, H, L) of each group: what its weights are multiplied by."""
    assert layout.streams is not None
    drops: list[Tensor | None] = []
    for group, member in zip(layout.groups, member_of_group(layout), strict=True):
        rate = layout.rate(member, dropout)
        shape = (group.size, heads, group.length)
        drops.append(layout.streams[member].mask(shape, rate, like) if rate > 0.0 else None)
    return drops
