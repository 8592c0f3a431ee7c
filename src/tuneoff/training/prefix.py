"""The frozen prefix of a cohort, computed once per example and kept.

Everything below the lowest trained module of all members gives the same states in every epoch, for
every member and in evaluation. Dropout is off in a cached prefix, which is a definition of the
method, not an approximation: it is noted in each run's record.

`entry` names the place as `Family` does: 0 .. blocks-1 token states entering that block, `blocks`
the rows after the last block, `blocks + 1` the features that the head reads.
What stands there is one state per token, one per example, or, in an encoder-decoder, one per token
that is said (`Family.kept_at`); inside its decoder two of these.
Axes: T tokens of a split, U that are said, N examples, D hidden features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.backbone import Backbone
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.layout import Kept, Layout

_BUILD_TOKENS = 4096


def entry_of(lowest_block: int, blocks: int) -> int:
    """Where a cached prefix ends, for members whose lowest trained module is in `lowest_block`
    (-1: embeddings, `blocks`: final norm or pooler, above: the head)."""
    return max(0, min(lowest_block, blocks + 1))


class PrefixCache:
    """States at `entry` of one split."""

    def __init__(
        self, backbone: Backbone, family: Any, features: Features, entry: int, memory_bytes: int
    ):
        self.entry = entry
        self.kinds: tuple[Kept, ...] = family.kept_at(entry)
        counts = {
            "token": len(features.tokens),
            "said": len(features.targets),
            "example": len(features),
        }
        width, dtype = _width(backbone), _dtype(backbone)
        rows = [counts[kind] for kind in self.kinds]
        in_memory = sum(rows) * width * dtype.itemsize <= memory_bytes
        self.states = [_storage(count, width, dtype, in_memory) for count in rows]
        device = backbone.device
        with torch.no_grad():
            for indices in by_length(features, _BUILD_TOKENS):
                layout = layouts.build(features, [indices], family.reads, device)
                made = family.advance(None, layout, 0, entry)
                parts = made if isinstance(made, tuple) else (made,)
                for kind, into, part in zip(self.kinds, self.states, parts, strict=True):
                    into[_places(layout, kind)] = part.to("cpu", into.dtype)
        self.device = device

    def take(self, layout: Layout) -> Tensor | tuple[Tensor, ...]:
        """The states of what a layout holds, in its order, as `Family.advance` takes them."""
        parts = tuple(
            states[_places(layout, kind)].to(self.device, non_blocking=True)
            for kind, states in zip(self.kinds, self.states, strict=True)
        )
        return parts if len(parts) > 1 else parts[0]


def _places(layout: Layout, kind: Kept) -> Tensor:
    """Where a layout's states stand in the split's."""
    places = {"token": layout.token_index, "said": layout.said_index, "example": layout.order}[kind]
    assert places is not None, "this layout has nothing that is said"
    return torch.from_numpy(places)


def by_length(features: Features, tokens: int) -> Iterator[np.ndarray]:
    """All examples, longest first, in batches of about so many real tokens."""
    lengths = features.lengths
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    cuts = np.searchsorted(ends, np.arange(tokens, int(ends[-1]) + tokens, tokens), side="left") + 1
    start = 0
    for cut in np.unique(np.minimum(cuts, len(order))).tolist():
        if cut > start:
            yield order[start:cut]
            start = cut


def _width(backbone: Backbone) -> int:
    config = backbone.config
    return int(getattr(config, "hidden_size", None) or config.dim)


def _dtype(backbone: Backbone) -> torch.dtype:
    dtype: torch.dtype = next(
        p.dtype for p in backbone.model.parameters() if p.dtype.is_floating_point
    )
    return dtype


def _storage(rows: int, width: int, dtype: torch.dtype, in_memory: bool) -> Tensor:
    """(rows, width), in memory or in a temporary memory-mapped file that goes with the process."""
    if in_memory or rows == 0:
        return torch.empty((rows, width), dtype=dtype)
    folder = Path(tempfile.mkdtemp(prefix="tuneoff-prefix-"))
    path = folder / "states.bin"
    states = torch.from_file(str(path), shared=True, size=rows * width, dtype=dtype)
    path.unlink()
    folder.rmdir()
    return states.view(rows, width)
