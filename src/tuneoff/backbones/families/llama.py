"""Llama and its kin (Mistral, Qwen2): pre-norm decoder blocks, rotary positions, grouped keys and
values, gated feed-forward. Source: Touvron et al. 2023; the Hugging Face `modeling_llama.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.activations import ACT2FN

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.training.attention import attend
from tuneoff.training.layout import Layout


class Llama(Family):
    """Llama-style decoders without a sliding window."""

    model_types = ("llama", "mistral", "qwen2")
    pool = "last"

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        config = backbone.config
        windowed = getattr(config, "use_sliding_window", config.model_type == "mistral")
        return not (windowed and getattr(config, "sliding_window", None))

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.activation = ACT2FN[self.config.hidden_act]
        self.heads = int(self.config.num_attention_heads)
        self.key_heads = int(self.config.num_key_value_heads or self.heads)
        self.width = int(
            getattr(self.config, "head_dim", None) or self.config.hidden_size // self.heads
        )
        parts = (
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
        self.layers = [
            [self.site(f"layers.{i}.{part}") for part in parts] for i in range(self.blocks)
        ]
        self.rotary = getattr(backbone.model, backbone.base_prefix).rotary_emb

    def embed(self, layout: Layout) -> Tensor:
        return self.site("embed_tokens")(layout.ids, layout.token_bounds)

    def block(self, index: int, h_TD: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        norm1, query, key, value, out, norm2, gate, up, down = self.layers[index]
        tokens = layout.token_bounds
        bounds = tokens if rows is None else layout.row_bounds
        kept = h_TD if rows is None else h_TD[rows]
        x = norm1(h_TD, tokens)
        cos, sin = (part[0, :, None, :] for part in self.rotary(h_TD, layout.positions[None]))
        q = self._turn(
            query(x if rows is None else x[rows], bounds),
            cos if rows is None else cos[rows],
            sin if rows is None else sin[rows],
        )
        k = self._turn(key(x, tokens), cos, sin)
        a = attend(
            q.flatten(1),
            k.flatten(1),
            value(x, tokens),
            layout,
            self.heads,
            scale=self.width**-0.5,
            causal=True,
            dropout=self.config.attention_dropout,
            key_heads=self.key_heads,
        )
        h = out(a, bounds) + kept
        x = norm2(h, bounds)
        return h + down(self.activation(gate(x, bounds)) * up(x, bounds), bounds)

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(n, H * E) -> (n, H, E), rotated by position."""
        x = x.unflatten(1, (-1, self.width))
        first, second = x.chunk(2, dim=-1)
        return x * cos.to(x.dtype) + torch.cat((-second, first), -1) * sin.to(x.dtype)

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        return self.site("norm")(h_RD, layout.row_bounds)

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        if self.marks_spans:
            return self.spans(features_RD, layout)
        name = "score" if self.backbone.head == "sequence_classification" else "lm_head"
        return self.backbone.sites[name](features_RD, layout.row_bounds)
