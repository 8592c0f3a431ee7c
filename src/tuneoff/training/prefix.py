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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.entrances import NoEntranceError, entrances
from tuneoff.backbones.padded import Padded, real_tokens
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.layout import Kept, Layout

_BUILD_TOKENS = 4096
_LOOKED_AT = 256
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far logits may lie apart, as a share of the largest, that batches of other sizes round in
other ways. Sums in float32 inside of a float64 model are common."""


def entry_of(lowest_block: int, blocks: int) -> int:
    """Where a cached prefix ends, for members whose lowest trained module is in `lowest_block`
    (-1: embeddings, `blocks`: final norm or pooler, above: the head)."""
    return max(0, min(lowest_block, blocks + 1))


class PrefixCache:
    """States at `entry` of one split."""

    def __init__(
        self, backbone: Backbone, family: Any, features: Features, entry: int, memory_bytes: int
    ):
        self.entry, self.features = entry, features
        self.kinds: tuple[Kept, ...] = family.kept_at(entry)
        self.device = backbone.device
        self.states: list[Tensor] = []
        with torch.no_grad():
            for indices in by_length(features, _BUILD_TOKENS):
                layout = layouts.build(features, [indices], family.reads, self.device)
                made = family.advance(None, layout, 0, entry)
                parts = made if isinstance(made, tuple) else (made,)
                if not self.states:
                    self.states = _storages(features, self.kinds, parts, memory_bytes)
                for kind, into, part in zip(self.kinds, self.states, parts, strict=True):
                    into[_places(layout, kind)] = part.to("cpu")

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


def _storages(
    features: Features, kinds: Sequence[Kept], like: Sequence[Tensor], memory_bytes: int
) -> list[Tensor]:
    """Room for a split's states of each kind, with the width and the type of such states."""
    counts = {
        "token": len(features.tokens),
        "said": len(features.targets),
        "example": len(features),
    }
    rows = [counts[kind] for kind in kinds]
    sizes = [n * one.shape[-1] * one.dtype.itemsize for n, one in zip(rows, like, strict=True)]
    in_memory = sum(sizes) <= memory_bytes
    return [
        _storage(n, one.shape[-1], one.dtype, in_memory) for n, one in zip(rows, like, strict=True)
    ]


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


def find_entrance(family: Padded, lowest: int, features: Features) -> str | None:
    """Gives the family an entrance for a frozen prefix, proven on a few examples; or says, as the
    end of a sentence, why it has none. The members' hooks hang on the backbone.

    Whatever an unknown architecture does wrong when it is entered is a reason too, since the run
    itself needs no entrance.
    """
    by_row = features.form == "example" and family.reads in ("first", "last")
    some = _different(features.lengths)
    family.entrance, reason = None, ""
    try:
        to_try = entrances(family.backbone, lowest, family.reads if by_row else None)
    except NoEntranceError as error:
        return str(error)
    for entrance in to_try:
        family.entrance = entrance
        try:
            _prove(family, features, some)
            return None
        except NoEntranceError as error:
            reason = str(error)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - any; it stands in the run's notes
            reason = f"{type(error).__name__}: {error}"
        family.entrance = None
    return reason


def _different(lengths: np.ndarray) -> np.ndarray:
    """A few examples of different lengths."""
    order = np.argsort(lengths[:_LOOKED_AT], kind="stable")
    return np.unique(order[np.linspace(0, len(order) - 1, 4).astype(int)])


def _prove(family: Padded, features: Features, some: np.ndarray) -> None:
    """Raises NoEntranceError unless examples that were kept one by one, and are read from there
    together, have the logits that they have without. Dropout is off in all of it."""
    entrance, device = family.entrance, family.backbone.device
    assert entrance is not None

    def layout_of(indices: np.ndarray) -> Layout:
        return layouts.build(features, [indices], family.reads, device)

    together = layout_of(some)
    with torch.enable_grad(), entrance.watching(real_tokens(together)):
        plain = family.forward(together).detach()
    with torch.no_grad():
        kept = [
            family.advance(None, layout_of(np.array([index])), 0, entrance.place)
            for index in together.order
        ]
        entered = family.forward(together, torch.cat(kept), entrance.place)
    worst = float((entered - plain).abs().max())
    scale = float(plain.abs().max())
    coarse = max(_ROUNDING[plain.dtype], _ROUNDING[kept[0].dtype])
    if not worst <= coarse * scale:
        raise NoEntranceError(
            f"logits differ by {worst:.2g} of {scale:.2g} when it is entered there"
        )
