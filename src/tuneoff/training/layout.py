"""Layout: where every sequence and every member begins in a flat batch of real tokens.

Axes: T tokens of all members end to end, R rows (one per sequence, or one per labelled token),
S sequences. Inside a member, sequences stand longest first, so that attention groups of like
length are contiguous; grouping looks at one member alone, so that a member's numbers do not
depend on its cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.sites import Bounds
from tuneoff.training.features import Features, Form
from tuneoff.training.kv_cache import KeyValues
from tuneoff.training.streams import Stream

Pool = Literal["first", "last", "labelled", "tokens"]
Kept = Literal["token", "said", "example"]
"""What one state stands for."""
_LIKE = 0.7  # sequences shorter than this share of a group's longest open a new group


@dataclass(frozen=True)
class Group:
    """B sequences of at most L tokens, tokens [start, end) and sequences [first, last).

    gather: (B * L,) token of each padded place, None where all have the same length;
    scatter: (end - start,) padded place of each token; mask: (B, 1, 1, L), 0 or -inf.
    """

    start: int
    end: int
    first: int
    last: int
    size: int
    length: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class Side:
    """The tokens of one stack of an encoder-decoder, in the layout's order of sequences.

    positions: (U,) int64 place of each in its sequence, from 0; bounds: of the members; groups: the
    same sequences as `Layout.groups`, one for one.
    """

    positions: Tensor
    bounds: Bounds
    groups: list[Group]


@dataclass
class Layout:
    """A batch of one or more members, ready for a family's forward."""

    ids: Tensor
    """(T,) int64 token ids."""
    positions: Tensor
    """(T,) int64 position of each token in its sequence, from 0."""
    token_type: Tensor | None
    """(T,) int64 segment ids."""
    token_bounds: Bounds
    row_bounds: Bounds
    rows: Tensor
    """(R,) the tokens whose states the head reads; in the form `sequence`, of `decoder_ids`."""
    targets: Tensor
    """(R,) int64; for spans (S, 2)."""
    form: Form
    """How targets are shaped; see `Features`."""
    lengths: Tensor
    """(S,) int64 tokens of each sequence."""
    sequence_of_loss: np.ndarray
    """(R,), or (S,) for spans: the sequence that each loss belongs to."""
    decoder_targets: Tensor | None
    """(U,) what the decoder of an encoder-decoder should say, all sequences end to end."""
    decoder_lengths: Tensor | None
    """(S,) tokens of each of those."""
    sequence_bounds: Bounds
    order: np.ndarray
    """(S,) the examples, in the layout's order."""
    token_index: np.ndarray
    """(T,) where each token stands in `Features.tokens`."""
    groups: list[Group]
    one_row_per_sequence: bool
    streams: Sequence[Stream] | None
    """One random stream per member in training; None in evaluation."""
    dropout_rates: Sequence[float | None]
    """Per member: the dropout in place of the backbone's own, or None."""
    cache: KeyValues | None = None
    """In generation: where keys and values of prompts are stored, or single tokens attend."""
    said: Side | None = None
    """What the decoder of an encoder-decoder reads, where that is not the input once more."""
    said_index: np.ndarray | None = None
    """(U,) where each of those tokens stands in `Features.targets`."""

    @property
    def read(self) -> Side:
        """What an encoder reads."""
        return Side(self.positions, self.token_bounds, self.groups)

    @property
    def loss_bounds(self) -> Bounds:
        """(start, end) of each member's losses."""
        return self.sequence_bounds if self.form == "span" else self.row_bounds

    def rate(self, member: int, p: float) -> float:
        """The dropout probability of a member where the backbone says p."""
        own = self.dropout_rates[member]
        return p if own is None or p == 0.0 else own

    def dropout(self, x: Tensor, p: float, bounds: Bounds) -> Tensor:
        """Dropout on (T or R, d) rows, each member from its own stream."""
        if self.streams is None or p == 0.0:
            return x
        masks = []
        for member, (start, end) in enumerate(bounds):
            rate = self.rate(member, p)
            shape = (end - start, *x.shape[1:])
            if rate == 0.0:
                masks.append(torch.ones(shape, dtype=x.dtype, device=x.device))
            else:
                masks.append(self.streams[member].mask(shape, rate, x))
        return x * (masks[0] if len(masks) == 1 else torch.cat(masks))

    def attention_dropout(self, p: float) -> bool:
        """Whether any member drops attention weights."""
        return self.streams is not None and any(
            self.rate(member, p) > 0.0 for member in range(len(self.token_bounds))
        )


def build(
    features: Features,
    members: Sequence[np.ndarray],
    pool: Pool,
    device: torch.device,
    streams: Sequence[Stream] | None = None,
    dropout_rates: Sequence[float | None] | None = None,
    positions_only: bool = False,
) -> Layout:
    """The layout of one micro-batch: `members[k]` holds the examples of member k.

    positions_only: token ids are not needed (a cached prefix stands in for the lower blocks).
    """
    lengths_all, offsets = features.lengths, features.offsets
    orders = [_longest_first(np.asarray(indices), lengths_all) for indices in members]
    order = np.concatenate(orders)
    lengths = lengths_all[order]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    total = int(starts[-1])
    token_index = np.repeat(offsets[order] - starts[:-1], lengths) + np.arange(total)
    positions = np.arange(total) - np.repeat(starts[:-1], lengths)
    counts = np.cumsum([0] + [len(o) for o in orders])
    token_bounds = [(int(starts[a]), int(starts[b])) for a, b in _pairs(counts)]
    sequences = np.arange(len(order))
    spoken, spoken_lengths, places = None, None, None
    begins = np.zeros(1, np.int64)
    if features.form == "sequence":
        ends = features.target_offsets
        assert ends is not None, "features of the form `sequence` have target_offsets"
        spoken_lengths = np.diff(ends)[order]
        begins = np.concatenate([[0], np.cumsum(spoken_lengths)])
        places = np.repeat(ends[order] - begins[:-1], spoken_lengths) + np.arange(begins[-1])
        spoken = np.asarray(features.targets[places])
        rows = np.flatnonzero(spoken != -100)
        targets, belongs = spoken[rows], np.repeat(sequences, spoken_lengths)[rows]
        row_bounds = _pairs(np.searchsorted(rows, begins[counts]))
    elif pool == "labelled":
        flat_targets = np.asarray(features.targets[token_index])
        rows = np.flatnonzero(flat_targets != -100)
        targets = flat_targets[rows]
        edges = np.searchsorted(rows, [b for _, b in token_bounds])
        row_bounds = _pairs(np.concatenate([[0], edges]))
        belongs = np.repeat(sequences, lengths)[rows]
    elif pool == "tokens":
        rows = np.arange(total)
        targets = np.asarray(features.targets[order])
        row_bounds, belongs = token_bounds, sequences
    else:
        belongs = sequences
        rows = starts[:-1] if pool == "first" else starts[1:] - 1
        targets = np.asarray(features.targets[order])
        row_bounds = _pairs(counts)
    groups: list[Group] = []
    for first, last in _pairs(counts):
        groups += _groups(lengths, starts, int(first), int(last), device)
    said = None
    if spoken_lengths is not None:
        said = _side(spoken_lengths, begins, counts, groups, device)
    ids = np.zeros(0, np.int64) if positions_only else features.tokens[token_index].astype(np.int64)
    segments = None
    if features.token_type is not None and not positions_only:
        segments = _tensor(features.token_type[token_index].astype(np.int64), device)
    return Layout(
        ids=_tensor(ids, device),
        positions=_tensor(positions, device),
        token_type=segments,
        token_bounds=token_bounds,
        row_bounds=[(int(a), int(b)) for a, b in row_bounds],
        rows=_tensor(rows.astype(np.int64), device),
        targets=_tensor(targets.astype(np.int64), device),
        form=features.form,
        lengths=_tensor(lengths.astype(np.int64), device),
        sequence_of_loss=belongs,
        decoder_targets=None if spoken is None else _tensor(spoken.astype(np.int64), device),
        decoder_lengths=None
        if spoken_lengths is None
        else _tensor(spoken_lengths.astype(np.int64), device),
        sequence_bounds=[(int(a), int(b)) for a, b in _pairs(counts)],
        order=order,
        token_index=token_index,
        groups=groups,
        one_row_per_sequence=pool in ("first", "last") and features.form != "sequence",
        streams=streams,
        dropout_rates=dropout_rates or [None] * len(members),
        said=said,
        said_index=places,
    )


def _side(
    lengths: np.ndarray,
    starts: np.ndarray,
    counts: np.ndarray,
    groups: list[Group],
    device: torch.device,
) -> Side:
    """Tokens that are said, in groups of the sequences that are read together."""
    positions = np.arange(int(starts[-1])) - np.repeat(starts[:-1], lengths)
    return Side(
        _tensor(positions, device),
        [(int(starts[a]), int(starts[b])) for a, b in _pairs(counts)],
        [
            _group(
                lengths,
                starts,
                one.first,
                one.last,
                int(lengths[one.first : one.last].max()),
                device,
            )
            for one in groups
        ],
    )


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _pairs(edges: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _longest_first(indices: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return indices[np.argsort(-lengths[indices], kind="stable")]


def _groups(
    lengths: np.ndarray, starts: np.ndarray, first: int, last: int, device: torch.device
) -> list[Group]:
    """Cut one member's sequences, longest first, into groups of like length."""
    groups = []
    like = 0.0 if device.type == "cuda" else _LIKE  # a kernel launch costs more than its padding
    here = first
    values = lengths.tolist()
    while here < last:
        longest = values[here]
        until = here + 1
        while until < last and values[until] >= like * longest:
            until += 1
        groups.append(_group(lengths, starts, here, until, int(longest), device))
        here = until
    return groups


def _group(
    lengths: np.ndarray,
    starts: np.ndarray,
    first: int,
    last: int,
    longest: int,
    device: torch.device,
) -> Group:
    size = last - first
    begin, end = int(starts[first]), int(starts[last])
    if size * longest == end - begin:
        return Group(begin, end, first, last, size, longest, None, None, None)
    places = np.arange(longest)
    inside = places < lengths[first:last, None]  # (B, L)
    gather = np.where(inside, starts[first:last, None] + places, begin)
    mask = np.where(inside, np.float32(0), np.float32("-inf"))[:, None, None]
    return Group(
        begin,
        end,
        first,
        last,
        size,
        longest,
        _tensor(gather.reshape(-1), device),
        _tensor(np.flatnonzero(inside), device),
        _tensor(mask, device),
    )
