"""What every family shares: blocks in order, the pooled rows alone after the last one, and the
places where a cached prefix may stand in.

Axes: T tokens, R rows that the head reads, D hidden features, C classes or vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.sites import Site
from tuneoff.training.attention import attend
from tuneoff.training.layout import Kept, Layout, Pool
from tuneoff.training.pooled_attention import attend_pooled, pools
from tuneoff.training.streams import as_of


class Family:
    """Base of the padding-free forwards. `entry` is where a forward begins: 0 .. blocks-1 are the
    token states entering that block, `blocks` the rows after the last block, `blocks + 1` the
    features that the head reads."""

    model_types: ClassVar[tuple[str, ...]]
    pool: ClassVar[Pool]

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self.config: Any = backbone.config
        self.blocks = backbone.blocks
        self.prefix = backbone.base_prefix + "."
        self.gradient_checkpointing = False

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        """Whether this very model (its options and head) is one that the forward reproduces."""
        return True

    @property
    def reads(self) -> Pool:
        """Which rows the head reads."""
        if self.marks_spans:
            return "tokens"
        speaks = self.backbone.head in ("causal_lm", "seq2seq_lm")
        return "labelled" if speaks else self.pool

    @property
    def deepest(self) -> int:
        """The last place whose states can be kept: of each token, or of the one row per example."""
        return self.blocks - 1 if self.reads in ("labelled", "tokens") else self.blocks + 1

    def kept_at(self, entry: int) -> tuple[Kept, ...]:
        """What stands at a place: what each of its states is of, one for each tensor there."""
        return ("token",) if entry < self.blocks else ("example",)

    def site(self, name: str) -> Site:
        """A site of the headless model by its name there."""
        return self.backbone.sites[self.prefix + name]

    def embed(self, layout: Layout) -> Tensor:
        """(T, D) states entering block 0."""
        raise NotImplementedError

    def block(self, index: int, h_TD: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        """One block; with `rows`, the states of those tokens alone come out: (R, D)."""
        raise NotImplementedError

    def attention(
        self,
        x_TD: Tensor,
        query: Site,
        key: Site,
        value: Site,
        layout: Layout,
        rows: Tensor | None,
        heads: int,
        *,
        scale: float,
        dropout: float,
        causal: bool = False,
        window: int | None = None,
    ) -> Tensor:
        """Attention over tokens' states: (T, H * E), or (R, H * E) for `rows`, one per sequence,
        whose keys and values are not computed where their sites are plain products."""
        tokens = layout.token_bounds
        if rows is None:
            q = query(x_TD, tokens)
        else:
            q = query(x_TD[rows], layout.row_bounds)
            keys = values = None
            if pools(layout, x_TD):
                keys, values = key.affine(x_TD.dtype), value.affine(x_TD.dtype)
            if keys is not None and values is not None:
                return attend_pooled(
                    q,
                    x_TD,
                    keys,
                    values,
                    layout,
                    heads,
                    scale=scale,
                    dropout=dropout,
                    window=window,
                )
        k, v = key(x_TD, tokens), value(x_TD, tokens)
        return attend(
            q, k, v, layout, heads, scale=scale, dropout=dropout, causal=causal, window=window
        )

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        """(R, D) features for the head: the final normalization or the pooler."""
        raise NotImplementedError

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        """(R, C)."""
        raise NotImplementedError

    @property
    def marks_spans(self) -> bool:
        """Whether the head marks where an answer begins and ends."""
        return self.backbone.head == "question_answering"

    def spans(self, features_RD: Tensor, layout: Layout) -> Tensor:
        """(R, 2) from the head that marks spans, the same in every architecture."""
        return self.backbone.sites["qa_outputs"](features_RD, layout.row_bounds)

    def advance(self, h: Tensor | None, layout: Layout, entry: int, until: int) -> Tensor:
        """States at place `until` from those at `entry` (`h` is None for the token ids)."""
        if h is None:
            assert entry == 0
            h = self.embed(layout)
        for index in range(entry, min(until, self.blocks)):
            last = index == self.blocks - 1 and until >= self.blocks
            rows = layout.rows if last and layout.one_row_per_sequence else None
            h = self._block(index, h, layout, rows)
            if last and not layout.one_row_per_sequence:
                h = h[layout.rows]
        if until > self.blocks >= entry:
            h = self.finish(h, layout)
        return h

    def forward(self, layout: Layout, h: Tensor | None = None, entry: int = 0) -> Tensor:
        """(R, C) logits, from the token ids or from states cached at `entry`."""
        features = self.advance(h, layout, entry, self.blocks + 1)
        return self.logits(features, layout)

    def _block(self, index: int, h: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        return self._saving(lambda states: self.block(index, states, layout, rows), h, layout)

    def _saving(self, block: Callable[[Tensor], Tensor], h: Tensor, layout: Layout) -> Tensor:
        """A block's states, from `h`; with gradient checkpointing all in between is computed again
        in the backward pass, with the same dropout."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled() and layout.streams):
            return block(h)
        streams = layout.streams
        begin = [stream.state() for stream in streams]
        first = True

        def run(h: Tensor) -> Tensor:
            nonlocal first
            if first:
                first = False
                return block(h)
            with as_of(streams, begin):  # torch may end a recomputation by an exception
                return block(h)

        return checkpoint(run, h, use_reentrant=False)  # type: ignore[no-any-return]
