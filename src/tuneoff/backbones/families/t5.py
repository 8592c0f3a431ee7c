"""T5, mT5 and umT5: an encoder and a decoder of pre-norm blocks, relative positions, no biases.

Source: Raffel et al. 2020 (arXiv 1910.10683); Xue et al. 2021 (mT5, arXiv 2010.11934), with the
gated feed-forward that T5 1.1 and Flan have too (Shazeer 2020, arXiv 2002.05202); Chung et al. 2023
(umT5, arXiv 2304.09151); the Hugging Face `modeling_t5.py`, `modeling_mt5.py`, `modeling_umt5.py`.

Axes: T tokens that are read, U that are said (classifiers and heads that mark spans say what they
read, one place later), S sequences, R rows that the head reads, D hidden features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.backbones.families.stack_attention import (
    Said,
    SelfAttention,
    Speech,
    Stack,
    said_side,
)
from tuneoff.backbones.sites import Bounds, Site
from tuneoff.errors import BackboneError
from tuneoff.training.layout import Kept, Layout
from tuneoff.training.prompts import start_of_text
from tuneoff.training.relative import table

_HEADS = ("seq2seq_lm", "sequence_classification", "question_answering", "encoder_classification")
State = Tensor | tuple[Tensor, Tensor]
"""Before the encoder's end its token states, (T, D); after it what it says, (T, D), and the
decoder's states."""


class T5(Family):
    """T5's encoder and decoder, or the encoder alone under a classifier.

    Blocks are the encoder's, then the decoder's. What enters the decoder's first block is what
    left the encoder's last, before its norm.
    """

    model_types = ("t5", "mt5", "umt5")
    pool = "last"

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        # Weights in float16: transformers clamps states by the largest of the whole batch, so that
        # an example's numbers depend on its company. The same is left to it, padded.
        return (
            backbone.head in _HEADS
            and isinstance(backbone.config.eos_token_id, int)
            and backbone.options.dtype != "float16"
            and not getattr(backbone.config, "is_decoder", False)
        )

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        body = getattr(backbone.model, backbone.base_prefix, None)
        self.prefix = "" if body is None else f"{backbone.base_prefix}."
        self.body: Any = backbone.model if body is None else body
        self.rate = float(self.config.dropout_rate)
        self.heads = int(self.config.num_heads)
        self.scale = 1.0  # T5's weights are drawn for queries that are not scaled
        name = self.config.dense_act_fn
        # transformers writes this one out in eight passes over the widest states
        fused = partial(F.gelu, approximate="tanh")
        self.activation: Any = fused if name == "gelu_new" else ACT2FN[name]
        self.readers = int(self.config.num_layers)
        self.own_tables = self.config.model_type == "umt5"
        # T5 1.1 does not scale, nor does mT5; umT5 has no setting for it
        scales = getattr(self.config, "scale_decoder_outputs", self.own_tables)
        self.output_scale = int(self.config.d_model) ** -0.5 if scales else 1.0
        self.writes = backbone.head != "encoder_classification"
        writers = int(self.config.num_decoder_layers) if self.writes else 0
        self.encoder = [self._parts("encoder", i) for i in range(self.readers)]
        self.decoder = [self._parts("decoder", i) for i in range(writers)]

    def _parts(self, stack: str, index: int) -> list[list[Site]]:
        """The sites of a block, layer by layer: norm, then what stands behind it."""
        gated = ("wi_0", "wi_1") if self.config.is_gated_act else ("wi",)
        layers: list[tuple[str, Sequence[str]]] = [(kind, "qkvo") for kind in _ATTENTION[stack]]
        layers.append(("DenseReluDense", (*gated, "wo")))
        place = f"{stack}.block.{index}.layer"
        return [
            [
                self.site(f"{place}.{layer}.layer_norm"),
                *(self.site(f"{place}.{layer}.{kind}.{part}") for part in parts),
            ]
            for layer, (kind, parts) in enumerate(layers)
        ]

    def _embedding(self, stack: str) -> Site:
        """The embeddings of a stack: a module of its own, or the shared one."""
        module = getattr(self.body, stack).embed_tokens
        return next(site for site in self.backbone.sites.values() if site.module is module)

    def embed(self, layout: Layout) -> Tensor:
        bounds = layout.token_bounds
        return layout.dropout(self._embedding("encoder")(layout.ids, bounds), self.rate, bounds)

    def advance(self, h: Any, layout: Layout, entry: int, until: int) -> Any:
        """See `Family.advance`, and `State` for what stands at a place. At `blocks` and beyond
        stand the states of all that is said, or one row per sequence for a classifier."""
        if entry <= self.readers:
            h = self._read(h, layout, entry, min(until, self.readers))
            if until <= self.readers:
                return h
            memory = self._read_out(h, layout)
            if not self.writes:
                return _means(memory, layout)
            h = self._embed_said(layout)
        elif entry < self.blocks:
            memory, h = h
        if entry < self.blocks:
            said = Speech(self, layout, memory)
            for index in range(max(entry, self.readers), min(until, self.blocks)):
                last = index == self.blocks - 1 and layout.one_row_per_sequence
                h = self._saving(partial(self._write, index - self.readers, said, last), h, layout)
            if until < self.blocks:
                return memory, h
        return self.finish(h, layout) if entry <= self.blocks < until else h

    @property
    def deepest(self) -> int:
        return self.blocks + 1

    def kept_at(self, entry: int) -> tuple[Kept, ...]:
        if not self.writes:
            return ("token",) if entry <= self.blocks else ("example",)
        if entry <= self.readers:
            return ("token",)
        said: Kept = "said" if self.backbone.head == "seq2seq_lm" else "token"
        if entry < self.blocks:
            return ("token", said)
        return ("example",) if self.backbone.head == "sequence_classification" else (said,)

    def _read(self, h: Tensor | None, layout: Layout, entry: int, until: int) -> Tensor:
        """(T, D) encoder states entering block `until` from those entering `entry`."""
        if h is None:
            assert entry == 0
            h = self.embed(layout)
        if entry >= until:
            return h
        own = SelfAttention(self, "encoder", layout)
        for index in range(entry, until):
            h = self._saving(partial(self._reading_block, index, own), h, layout)
        return h

    def _reading_block(self, index: int, own: SelfAttention, h: Tensor) -> Tensor:
        (norm, query, key, value, out), inner = self.encoder[index]
        layout, bounds = own.layout, own.layout.token_bounds
        x = norm(h, bounds)
        a = own.attend(index, query(x, bounds), key(x, bounds), value(x, bounds))
        h = h + layout.dropout(out(a, bounds), self.rate, bounds)
        return self._feed_forward(inner, h, layout, bounds)

    def _feed_forward(self, inner: list[Site], h: Tensor, layout: Layout, bounds: Bounds) -> Tensor:
        """h + FF(norm(h)). `wo` is in float32 where the other weights are quantized."""
        norm, up, *gate, down = inner
        x = norm(h, bounds)
        f = self.activation(up(x, bounds))
        if gate:
            f = f * gate[0](x, bounds)
        f = layout.dropout(f, self.rate, bounds)
        weight: Any = down.module.weight
        if not down.quantized and f.dtype.itemsize < weight.dtype.itemsize:
            f = f.to(weight.dtype)
        return h + layout.dropout(down(f, bounds), self.rate, bounds)

    def table(self, stack: Stack, index: int, members: int, reach: int) -> Tensor:
        """(K or 1, H, 2 reach - 1) the bias of each distance; see `relative.table`."""
        index = index if self.own_tables else 0
        site = self.site(_TABLE.format(stack=stack, index=index))
        farthest = int(self.config.relative_attention_max_distance)
        return table(site, members, reach, farthest, both_ways=stack == "encoder")

    def _read_out(self, h_TD: Tensor, layout: Layout) -> Tensor:
        """(T, D) what the encoder says, from the states after its last block."""
        bounds = layout.token_bounds
        norm = self.site("encoder.final_layer_norm")
        return layout.dropout(norm(h_TD, bounds), self.rate, bounds)

    def encode(self, layout: Layout) -> Tensor:
        """(T, D) what the encoder says of each token."""
        return self._read_out(self._read(None, layout, 0, self.readers), layout)

    def _embed_said(self, layout: Layout) -> Tensor:
        """(U, D) states entering the decoder's first block: targets, or the input once more, each
        one place later, behind the token that begins a text."""
        side = said_side(layout)
        if layout.one_row_per_sequence:
            self._check_ends(layout)
        told = layout.ids if layout.decoder_targets is None else layout.decoder_targets.clamp(min=0)
        before = told.roll(1)
        ids = torch.where(side.positions == 0, start_of_text(self.backbone), before)
        h = self._embedding("decoder")(ids, side.bounds)
        return layout.dropout(h, self.rate, side.bounds)

    def _check_ends(self, layout: Layout) -> None:
        """transformers' classifier reads the state of the end token, ours that of the last."""
        end = self.config.eos_token_id
        if bool((layout.ids[layout.rows] != end).any()):
            raise BackboneError(
                f"backbone {self.backbone.options.model!r}: a text does not end with token {end}, "
                "whose state T5's classifier reads; encode texts with this backbone's tokenizer, "
                "or set `head_on: encoder` in the task"
            )

    def remember(self, memory_TD: Tensor, bounds: Bounds, alike: bool) -> Iterator[_Pair]:
        """(K * T, H * E) keys and values of what the encoder said, block by block of the decoder.

        alike: (T, D) is what it said for each of the members, else (K * T, D) for all.
        """
        whole = memory_TD.repeat(len(bounds), 1) if alike else memory_TD

        def of(site: Site) -> Tensor:
            if alike and not any(site.hooks):
                return site.frozen(memory_TD).repeat(len(bounds), 1)
            return site(whole, bounds)

        for _, (_, _, key, value, _), _ in self.decoder:
            yield of(key), of(value)

    def reads_alike(self) -> bool:
        """Whether the encoder says the same for all members."""
        front = [s for s in self.backbone.sites.values() if s.block < self.readers]
        front += [self._embedding("encoder"), self.site("encoder.final_layer_norm")]
        return not any(hook is not None for site in front for hook in site.hooks)

    def say(self, layout: Layout, said: Said) -> Tensor:
        """(N, V) logits after one more token of each text."""
        h = self._embedding("decoder")(layout.ids, layout.token_bounds)
        for index in range(len(self.decoder)):
            h = self._write(index, said, False, h)
        return self.speak(self.finish(h, layout), layout.row_bounds)

    def _write(self, index: int, said: Said, last: bool, h: Tensor) -> Tensor:
        """A block of the decoder; last: of which one row per sequence comes out."""
        own, crossing, inner = self.decoder[index]
        layout, bounds = said.layout, said.bounds
        norm, query, key, value, out = own
        x = norm(h, bounds)
        k, v = key(x, bounds), value(x, bounds)
        if last:
            h, x, bounds = h[layout.rows], x[layout.rows], layout.row_bounds
        a = said.attend(index, query(x, bounds), k, v, last)
        h = h + layout.dropout(out(a, bounds), self.rate, bounds)
        norm, query, key, value, out = crossing
        a = said.look_up(query(norm(h, bounds), bounds), key, value, last)
        h = h + layout.dropout(out(a, bounds), self.rate, bounds)
        return self._feed_forward(inner, h, layout, bounds)

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        bounds = layout.row_bounds if layout.one_row_per_sequence else said_side(layout).bounds
        norm = self.site("decoder.final_layer_norm")
        return layout.dropout(norm(h_RD, bounds), self.rate, bounds)

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        bounds, sites = layout.row_bounds, self.backbone.sites
        if self.marks_spans:
            return self.spans(features_RD, layout)
        if self.backbone.head == "seq2seq_lm":
            return self.speak(features_RD[layout.rows], bounds)
        h = layout.dropout(features_RD, float(self.config.classifier_dropout), bounds)
        if not self.writes:
            weight: Any = sites["classifier"].module.weight
            return sites["classifier"](h.to(weight.dtype), bounds)
        h = torch.tanh(sites["classification_head.dense"](h, bounds))
        h = layout.dropout(h, float(self.config.classifier_dropout), bounds)
        return sites["classification_head.out_proj"](h, bounds)

    def speak(self, features_RD: Tensor, bounds: Bounds) -> Tensor:
        """(R, V) of the output layer, in whose embeddings T5 1.0 and umT5 scale what enters."""
        scaled = features_RD if self.output_scale == 1.0 else features_RD * self.output_scale
        return self.backbone.sites["lm_head"](scaled, bounds)


_TABLE = "{stack}.block.{index}.layer.0.SelfAttention.relative_attention_bias"
_ATTENTION = {"encoder": ("SelfAttention",), "decoder": ("SelfAttention", "EncDecAttention")}
_Pair = tuple[Tensor, Tensor]


def _means(memory_TD: Tensor, layout: Layout) -> Tensor:
    """(S, D) the mean of each sequence."""
    places = torch.arange(len(layout.lengths), device=memory_TD.device)
    sequence = torch.repeat_interleave(places, layout.lengths, output_size=len(memory_TD))
    sums = memory_TD.new_zeros((len(layout.lengths), memory_TD.shape[1]))
    return sums.index_add(0, sequence, memory_TD) / layout.lengths[:, None]
