"""The frozen prefix of a cohort, computed once per example and kept.

Everything below the lowest trained module of all members gives the same states in every epoch, for
every member and in evaluation. Dropout is off in a cached prefix, which is a definition of the
method, not an approximation: it is noted in each run's record.

`entry` names the place as `Family` does: 0 .. blocks-1 token states entering that block, `blocks`
the rows after the last block, `blocks + 1` the features that the head reads.
Axes: T tokens of a split, N examples, D hidden features.
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
from tuneoff.training.layout import Layout

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
        self.per_token = entry < family.blocks
        rows = len(features.tokens) if self.per_token else len(features)
        self.states = _storage(rows, _width(backbone), _dtype(backbone), memory_bytes)
        device = backbone.device
        with torch.no_grad():
            for indices in by_length(features, _BUILD_TOKENS):
                layout = layouts.build(features, [indices], family.reads, device)
                states = family.advance(None, layout, 0, entry).to("cpu", self.states.dtype)
                places = layout.token_index if self.per_token else layout.order
                self.states[torch.from_numpy(places)] = states
        self.device = device

    def take(self, layout: Layout) -> Tensor:
        """The states of a layout's tokens (or sequences), in its order."""
        places = layout.token_index if self.per_token else layout.order
        return self.states[torch.from_numpy(places)].to(self.device, non_blocking=True)


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


def _storage(rows: int, width: int, dtype: torch.dtype, memory_bytes: int) -> Tensor:
    """(rows, width), in memory or, beyond the limit, in a temporary memory-mapped file that goes
    with the process."""
    if rows * width * dtype.itemsize <= memory_bytes:
        return torch.empty((rows, width), dtype=dtype)
    folder = Path(tempfile.mkdtemp(prefix="tuneoff-prefix-"))
    path = folder / "states.bin"
    states = torch.from_file(str(path), shared=True, size=rows * width, dtype=dtype)
    path.unlink()
    folder.rmdir()
    return states.view(rows, width)
