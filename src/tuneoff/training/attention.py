"""Attention over a flat batch of sequences of any length, without a padded batch.

Sequences of like length stand together (see `layout.Group`), so that each group is one call of
PyTorch's scaled dot-product attention with little or no padding. Queries may be all tokens, or one
per sequence (the last block of a classifier needs the pooled token alone).

Axes: T tokens, Q queries (T, or S for one per sequence), H heads, E features per head.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tuneoff.training.layout import Group, Layout

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    heads: int,
    *,
    scale: float,
    causal: bool = False,
    dropout: float = 0.0,
    window: int | None = None,
    key_heads: int | None = None,
) -> Tensor:
    """softmax(q k' * scale) v inside each sequence.

    q: (Q, H * E); k, v: (T, G * E) -> (Q, H * E). key_heads: G where groups of heads share keys
    and values (None: H). One query per sequence sees the whole sequence,
    which is right for a first token without and a last token with a causal mask. window: a token
    sees itself and the window - 1 tokens before it (GPT-Neo's local attention).
    """
    q, k, v = of_one_type(q, k, v)
    key_heads = key_heads or heads
    if layout.cache is not None:
        if layout.cache.writing:
            return layout.cache.attend(q, k, v, heads, scale, window)
        layout.cache.store(k, v, key_heads)
    if key_heads != heads:
        k, v = (_for_each_head(x, key_heads, heads) for x in (k, v))
    if window is not None and all(group.length <= window for group in layout.groups):
        window = None
    single = q.shape[0] != k.shape[0]
    drops = layout.attention_dropout(dropout)
    if q.device.type == "cpu" and not drops and window is None:
        out: Tensor = _Grouped.apply(
            q, k, v, layout.groups, heads, scale, causal and not single, single
        )  # type: ignore[no-untyped-call]
        return out
    member_of = member_of_group(layout)
    parts = []
    for group, member in zip(layout.groups, member_of, strict=True):
        rate = layout.rate(member, dropout) if drops else 0.0
        stream = layout.streams[member] if layout.streams is not None and rate > 0.0 else None
        qg = q[group.first : group.last] if single else take(q, group)
        qg = _split(qg, group.size, 1 if single else group.length, heads)
        kg = _split(take(k, group), group.size, group.length, heads)
        vg = _split(take(v, group), group.size, group.length, heads)
        mask = _mask(group, qg, causal and not single, None if single else window)
        if single and window is not None and group.length > window:
            mask = last_window(group, window, qg)
        if stream is None:
            out = F.scaled_dot_product_attention(qg, kg, vg, attn_mask=mask, scale=scale)
        else:
            scores = torch.matmul(qg, kg.transpose(-1, -2)) * scale
            if mask is not None:
                scores = scores + mask
            weights = stream.dropout(
                torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype), rate
            )
            out = torch.matmul(weights, vg)
        flat = out.transpose(1, 2).reshape(-1, heads * out.shape[-1])
        parts.append(flat if single or group.scatter is None else flat[group.scatter])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Grouped(torch.autograd.Function):
    """The CPU path: PyTorch's flash kernel per group, gradients written once into flat buffers
    (slices under autograd would zero and add a whole buffer per group)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        groups: list[Group],
        heads: int,
        scale: float,
        causal: bool,
        single: bool,
    ) -> Tensor:
        out = torch.empty_like(q)
        saved = []
        for group in groups:
            rows = slice(group.first, group.last) if single else slice(group.start, group.end)
            qg = q[rows] if single or group.gather is None else q.index_select(0, group.gather)
            qg = _split(qg, group.size, 1 if single else group.length, heads)
            kg = _split(take(k, group), group.size, group.length, heads)
            vg = _split(take(v, group), group.size, group.length, heads)
            mask = _kernel_mask(group, qg, causal)
            og, lse = _flash(qg, kg, vg, 0.0, causal, attn_mask=mask, scale=scale)
            saved.append((qg, kg, vg, og, lse))
            flat = og.transpose(1, 2).reshape(-1, q.shape[1])
            out[rows] = (
                flat if single or group.scatter is None else flat.index_select(0, group.scatter)
            )
        ctx.saved, ctx.groups, ctx.settings = saved, groups, (heads, scale, causal, single)
        ctx.shapes = q.shape, k.shape
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        heads, scale, causal, single = ctx.settings
        (queries, width), (tokens, _) = ctx.shapes
        dq = grad.new_empty((queries, width))
        dk = grad.new_empty((tokens, width))
        dv = grad.new_empty((tokens, width))
        for group, (qg, kg, vg, og, lse) in zip(ctx.groups, ctx.saved, strict=True):
            rows = slice(group.first, group.last) if single else slice(group.start, group.end)
            if single or group.scatter is None:
                part = grad[rows]
            else:
                part = grad.new_zeros((group.size * group.length, width))
                part[group.scatter] = grad[rows]
            part = _split(part, group.size, qg.shape[2], heads)
            mask = _kernel_mask(group, qg, causal)
            grads = _flash_backward(
                part, qg, kg, vg, og, lse, 0.0, causal, attn_mask=mask, scale=scale
            )
            for into, piece, place, packed in zip(
                (dq, dk, dv),
                grads,
                (rows, *[slice(group.start, group.end)] * 2),
                (single, False, False),
                strict=True,
            ):
                flat = piece.transpose(1, 2).reshape(-1, width)
                whole = packed or group.scatter is None
                into[place] = flat if whole else flat.index_select(0, group.scatter)
        ctx.saved = None
        return dq, dk, dv, None, None, None, None, None


def _for_each_head(x: Tensor, key_heads: int, heads: int) -> Tensor:
    """(T, G * E) -> (T, H * E): each key head as often as it is shared."""
    grouped = x.view(len(x), key_heads, -1)
    return grouped.repeat_interleave(heads // key_heads, dim=1).flatten(1)


def of_one_type(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three in the smallest type among them: under autocast an adapted projection is in 16
    bits, and a 4-bit one beside it in 32."""
    low = min((q.dtype, k.dtype, v.dtype), key=lambda dtype: dtype.itemsize)
    return q.to(low), k.to(low), v.to(low)


def take(x: Tensor, group: Group) -> Tensor:
    """(B * L, d) padded rows of a group."""
    return x[group.start : group.end] if group.gather is None else x.index_select(0, group.gather)


def _split(x: Tensor, size: int, length: int, heads: int) -> Tensor:
    """(B * L, H * E) -> (B, H, L, E), a view."""
    return x.view(size, length, heads, -1).transpose(1, 2)


def _kernel_mask(group: Group, qg: Tensor, causal: bool) -> Tensor | None:
    """The padding mask of a group; under a causal mask padding stands behind every real token."""
    if group.mask is None or causal:
        return None
    return group.mask.to(qg.dtype).expand(group.size, 1, qg.shape[2], group.length)


def _mask(group: Group, qg: Tensor, causal: bool, window: int | None) -> Tensor | None:
    mask = None if group.mask is None else group.mask.to(qg.dtype)
    if not causal:
        return mask
    length = group.length
    behind = torch.ones((length, length), dtype=torch.bool, device=qg.device).tril()
    if window is not None:
        behind &= ~torch.ones_like(behind).tril(-window)
    order = torch.zeros((length, length), dtype=qg.dtype, device=qg.device)
    order = order.masked_fill(~behind, float("-inf"))
    return order[None, None]


def last_window(group: Group, window: int, qg: Tensor) -> Tensor:
    """For one query at each sequence's end: the last `window` tokens."""
    places = torch.arange(group.length, device=qg.device)
    if group.mask is None:
        lengths = torch.full((group.size, 1), group.length, device=qg.device)
    else:
        lengths = (group.mask.view(group.size, -1) == 0).sum(1, keepdim=True)
    seen = (places < lengths) & (places >= lengths - window)
    mask = torch.zeros((group.size, group.length), dtype=qg.dtype, device=qg.device)
    return mask.masked_fill(~seen, float("-inf"))[:, None, None, :]


def member_of_group(layout: Layout) -> list[int]:
    """The member that each group belongs to."""
    ends = [end for _, end in layout.token_bounds]
    members, member = [], 0
    for group in layout.groups:
        while group.start >= ends[member]:
            member += 1
        members.append(member)
    return members
