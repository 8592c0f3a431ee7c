"""DistilBERT: BERT's block without segments and pooler. Source: Sanh et al. 2019; the Hugging Face
`modeling_distilbert.py` (no dropout after the attention projection, as there)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.activations import get_activation

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.training.layout import Layout


class DistilBert(Family):
    """DistilBERT for sequence classification and for spans."""

    model_types = ("distilbert",)
    pool = "first"

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        return backbone.head in ("sequence_classification", "question_answering")

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.activation = get_activation(self.config.activation)
        self.heads = int(self.config.n_heads)
        self.scale = (self.config.dim // self.heads) ** -0.5
        parts = (
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            "sa_layer_norm",
            "ffn.lin1",
            "ffn.lin2",
            "output_layer_norm",
        )
        self.layers = [
            [self.site(f"transformer.layer.{i}.{part}") for part in parts]
            for i in range(self.blocks)
        ]

    def embed(self, layout: Layout) -> Tensor:
        bounds = layout.token_bounds
        h = self.site("embeddings.word_embeddings")(layout.ids, bounds)
        h = h + self.site("embeddings.position_embeddings")(layout.positions, bounds)
        h = self.site("embeddings.LayerNorm")(h, bounds)
        return layout.dropout(h, self.config.dropout, bounds)

    def block(self, index: int, h_TD: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        query, key, value, out, norm1, up, down, norm2 = self.layers[index]
        bounds = layout.token_bounds if rows is None else layout.row_bounds
        kept = h_TD if rows is None else h_TD[rows]
        a = self.attention(
            h_TD,
            query,
            key,
            value,
            layout,
            rows,
            self.heads,
            scale=self.scale,
            dropout=self.config.attention_dropout,
        )
        h = norm1(out(a, bounds) + kept, bounds)
        f = down(self.activation(up(h, bounds)), bounds)
        return norm2(layout.dropout(f, self.config.dropout, bounds) + h, bounds)

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        return h_RD

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        bounds, sites = layout.row_bounds, self.backbone.sites
        if self.marks_spans:
            return self.spans(layout.dropout(features_RD, self.config.qa_dropout, bounds), layout)
        h = torch.relu(sites["pre_classifier"](features_RD, bounds))
        return sites["classifier"](
            layout.dropout(h, self.config.seq_classif_dropout, bounds), bounds
        )
