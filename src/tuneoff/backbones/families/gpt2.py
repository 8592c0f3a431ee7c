"""GPT-2 and GPT-Neo: pre-norm decoder blocks, learned positions.

Source: Radford et al. 2019; Black et al. 2021; the Hugging Face `modeling_gpt2.py` and
`modeling_gpt_neo.py`.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.backbones.sites import Bounds, Site
from tuneoff.training.attention import attend
from tuneoff.training.layout import Layout
from tuneoff.training.pooled_attention import attend_pooled, pools

_HEADS = {
    "sequence_classification": "score",
    "causal_lm": "lm_head",
    "question_answering": "qa_outputs",
}


class Gpt2(Family):
    """GPT-2, transformers' or our own, with its fused query-key-value projection (`Conv1D`)."""

    model_types = ("gpt2",)
    pool = "last"

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        config = backbone.config
        return not (
            getattr(config, "reorder_and_upcast_attn", False)
            or getattr(config, "add_cross_attention", False)
        )

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        name = self.config.activation_function
        # transformers writes this one out in eight passes over the widest states
        fused = partial(F.gelu, approximate="tanh")
        self.activation = fused if name == "gelu_new" else ACT2FN[name]
        self.heads = int(
            self.config.num_heads
            if hasattr(self.config, "num_heads")
            else self.config.num_attention_heads
        )
        self.read_config()
        self.layers = [
            [self.site(f"h.{i}.{part}") for part in self.parts()] for i in range(self.blocks)
        ]

    def read_config(self) -> None:
        """Dropout rates under names that the two architectures share."""
        self.embedding_dropout = float(self.config.embd_pdrop)
        self.residual_dropout = float(self.config.resid_pdrop)
        self.attention_dropout = float(self.config.attn_pdrop)

    def parts(self) -> tuple[str, ...]:
        """Sites of a block in the order in which `block` takes them."""
        return ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")

    def scale(self, index: int) -> float:
        """What scores are multiplied by in a block."""
        scale = 1.0
        if self.config.scale_attn_weights:
            scale = (self.config.hidden_size // self.heads) ** -0.5
        if self.config.scale_attn_by_inverse_layer_idx:
            scale /= index + 1
        return scale

    def embed(self, layout: Layout) -> Tensor:
        bounds = layout.token_bounds
        h = self.site("wte")(layout.ids, bounds) + self.site("wpe")(layout.positions, bounds)
        return layout.dropout(h, self.embedding_dropout, bounds)

    def block(self, index: int, h_TD: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        norm1, qkv, out, norm2, up, down = self.layers[index]
        tokens = layout.token_bounds
        bounds = tokens if rows is None else layout.row_bounds
        kept = h_TD if rows is None else h_TD[rows]
        a = self.own_attention(index, norm1(h_TD, tokens), qkv, layout, rows)
        h = layout.dropout(out(a, bounds), self.residual_dropout, bounds) + kept
        return self.feed_forward(h, norm2, up, down, layout, bounds)

    def own_attention(
        self, index: int, x_TD: Tensor, qkv: Site, layout: Layout, rows: Tensor | None
    ) -> Tensor:
        """As `attention`, of one projection for all three."""
        width, scale, dropout = x_TD.shape[1], self.scale(index), self.attention_dropout
        fused = None
        if rows is not None and pools(layout, x_TD):
            fused = qkv.affine(x_TD.dtype)
        if fused is not None:
            keys, values = (
                [(weight[part], None if bias is None else bias[part]) for weight, bias in fused]
                for part in (slice(width, 2 * width), slice(2 * width, None))
            )
            q = qkv(x_TD[rows], layout.row_bounds)[:, :width]
            return attend_pooled(
                q, x_TD, keys, values, layout, self.heads, scale=scale, dropout=dropout
            )
        q, k, v = qkv(x_TD, layout.token_bounds).split(width, dim=1)
        q = q.contiguous() if rows is None else q[rows]
        return attend(
            q,
            k.contiguous(),
            v.contiguous(),
            layout,
            self.heads,
            scale=scale,
            causal=True,
            dropout=dropout,
        )

    def feed_forward(
        self, h: Tensor, norm: object, up: object, down: object, layout: Layout, bounds: Bounds
    ) -> Tensor:
        """h + MLP(norm(h))."""
        f = down(self.activation(up(norm(h, bounds), bounds)), bounds)  # type: ignore[operator]
        return h + layout.dropout(f, self.residual_dropout, bounds)

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        return self.site("ln_f")(h_RD, layout.row_bounds)

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        name = _HEADS[self.backbone.head]
        return self.backbone.sites[name](features_RD, layout.row_bounds)


class GptNeo(Gpt2):
    """GPT-Neo: unscaled scores, separate projections, every other block sees a local window."""

    model_types = ("gpt_neo",)

    def read_config(self) -> None:
        self.embedding_dropout = float(self.config.embed_dropout)
        self.residual_dropout = float(self.config.resid_dropout)
        self.attention_dropout = float(self.config.attention_dropout)

    def parts(self) -> tuple[str, ...]:
        inner = "attn.attention."
        return (
            "ln_1",
            inner + "q_proj",
            inner + "k_proj",
            inner + "v_proj",
            inner + "out_proj",
            "ln_2",
            "mlp.c_fc",
            "mlp.c_proj",
        )

    def block(self, index: int, h_TD: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        norm1, query, key, value, out, norm2, up, down = self.layers[index]
        tokens = layout.token_bounds
        bounds = tokens if rows is None else layout.row_bounds
        kept = h_TD if rows is None else h_TD[rows]
        x = norm1(h_TD, tokens)
        local = self.config.attention_layers[index] == "local"
        window = int(self.config.window_size) if local else None
        a = self.attention(
            x,
            query,
            key,
            value,
            layout,
            rows,
            self.heads,
            scale=1.0,
            causal=True,
            dropout=self.attention_dropout,
            window=window,
        )
        h = layout.dropout(out(a, bounds), self.residual_dropout, bounds) + kept
        return self.feed_forward(h, norm2, up, down, layout, bounds)
