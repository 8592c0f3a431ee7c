"""Relative positions: a learned number per head and distance, added to the scores of attention.

Source: Shaw et al. 2018 (arXiv 1803.02155); in buckets of distances: Raffel et al. 2020 (T5, arXiv
1910.10683), section 2.1; the Hugging Face `modeling_t5.py`.

Axes: K members (1 where all have one table), H heads, B sequences of a group, L tokens of the
longest, N = 2 * reach - 1 distances from -(reach - 1) on: a key's place less a query's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tuneoff.backbones.sites import Site
from tuneoff.training.layout import Group


def buckets_of(distance: Tensor, buckets: int, farthest: int, both_ways: bool) -> Tensor:
    """The bucket of each distance: small ones have their own, larger ones share by their logarithm
    up to `farthest`, from which on all share the last. both_ways: keys behind and ahead have
    buckets each, else those ahead are as the query itself."""
    first = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        first = (distance > 0).long() * buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets // 2
    # float32, in transformers' order of operations: a boundary is where the rounding puts it
    share = torch.log(distance.float() / exact) / math.log(farthest / exact) * (buckets - exact)
    large = (exact + share.clamp(min=0).long()).clamp(max=buckets - 1)
    return first + torch.where(distance < exact, distance, large)


def table(site: Site, members: int, reach: int, farthest: int, both_ways: bool) -> Tensor:
    """(K, H, N) the bias of each distance, from an embedding of buckets; one table for all where
    nobody changes the embedding."""
    weight: Any = site.module.weight
    distance = torch.arange(1 - reach, reach, device=weight.device)
    ids = buckets_of(distance, site.in_features, farthest, both_ways)
    count = members if any(site.hooks) else 1
    rows = site(ids.repeat(count), [(k * len(ids), (k + 1) * len(ids)) for k in range(count)])
    made: Tensor = rows.unflatten(0, (count, -1)).transpose(1, 2)
    return made


def added_to_scores(
    table_KHN: Tensor, groups: Sequence[Group], owners: Sequence[int], causal: bool
) -> list[Tensor]:
    """Per group (1 or B, H, L, L): the bias, and -inf for padding or what lies ahead."""
    reach = (table_KHN.shape[2] + 1) // 2
    made = []
    for group, member in zip(groups, owners, strict=True):
        length = group.length
        near = table_KHN[min(member, len(table_KHN) - 1), :, reach - length : reach + length - 1]
        bias = near.unfold(-1, length, 1).flip(1)[None] if length else near[None, :, :0, None]
        if causal:  # padding stands behind, so that no token sees it
            ahead = torch.ones((length, length), dtype=torch.bool, device=bias.device).triu(1)
            bias = bias.masked_fill(ahead, float("-inf"))
        elif group.mask is not None:
            bias = bias + group.mask.to(bias.dtype)
        made.append(bias)
    return made


def added_at_the_end(
    table_KHN: Tensor, groups: Sequence[Group], owners: Sequence[int], lengths: Tensor
) -> list[Tensor]:
    """Per group (B, H, 1, L): as above, for one query at each sequence's end. lengths: (S,)."""
    reach = (table_KHN.shape[2] + 1) // 2
    made = []
    for group, member in zip(groups, owners, strict=True):
        places = torch.arange(group.length, device=lengths.device)
        distance_BL = places - (lengths[group.first : group.last, None] - 1)
        near = table_KHN[min(member, len(table_KHN) - 1)]
        bias = near[:, distance_BL.clamp(max=0) + reach - 1].transpose(0, 1)[:, :, None]
        made.append(bias.masked_fill((distance_BL > 0)[:, None, None], float("-inf")))
    return made
