"""BERT and RoBERTa: post-norm encoder blocks, learned positions.

Source: Devlin et al. 2019; the Hugging Face `modeling_bert.py`, `modeling_roberta.py`, with which
logits and gradients are compared in the tests.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from transformers.activations import ACT2FN

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.training.layout import Layout


class Bert(Family):
    """BERT: the pooler (dense, tanh) stands between the first token and the classifier; a head that
    marks spans reads every token as it is."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    pool = "first"
    position_offset = 0

    @classmethod
    def serves(cls, backbone: Backbone) -> bool:
        plain = getattr(backbone.config, "position_embedding_type", "absolute") in (
            "absolute",
            None,
        )
        return (
            plain
            and backbone.head in ("sequence_classification", "question_answering")
            and not getattr(backbone.config, "is_decoder", False)
        )

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.activation = ACT2FN[self.config.hidden_act]
        self.heads = int(self.config.num_attention_heads)
        self.scale = (self.config.hidden_size // self.heads) ** -0.5
        self.embeddings = [
            self.site(f"embeddings.{part}")
            for part in (
                "word_embeddings",
                "token_type_embeddings",
                "position_embeddings",
                "LayerNorm",
            )
        ]
        parts = (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        )
        self.layers = [
            [self.site(f"encoder.layer.{i}.{part}") for part in parts] for i in range(self.blocks)
        ]
        own = getattr(self.config, "classifier_dropout", None)
        self.head_dropout = float(self.config.hidden_dropout_prob if own is None else own)

    def embed(self, layout: Layout) -> Tensor:
        words, types, positions, norm = self.embeddings
        bounds = layout.token_bounds
        segments = layout.token_type
        if segments is None:
            segments = torch.zeros_like(layout.ids)
        h = words(layout.ids, bounds) + types(segments, bounds)
        h = h + positions(layout.positions + self.position_offset, bounds)
        return layout.dropout(norm(h, bounds), self.config.hidden_dropout_prob, bounds)

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
            dropout=self.config.attention_probs_dropout_prob,
        )
        a = layout.dropout(out(a, bounds), self.config.hidden_dropout_prob, bounds)
        h = norm1(a + kept, bounds)
        f = down(self.activation(up(h, bounds)), bounds)
        f = layout.dropout(f, self.config.hidden_dropout_prob, bounds)
        return norm2(f + h, bounds)

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        if self.marks_spans:
            return h_RD
        return torch.tanh(self.site("pooler.dense")(h_RD, layout.row_bounds))

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        if self.marks_spans:
            return self.spans(features_RD, layout)
        features = layout.dropout(features_RD, self.head_dropout, layout.row_bounds)
        return self.backbone.sites["classifier"](features, layout.row_bounds)


class Roberta(Bert):
    """RoBERTa: positions start after the padding index; the head (dense, tanh, projection) is
    new."""

    model_types = ("roberta", "xlm-roberta", "camembert")

    def __init__(self, backbone: Backbone):
        super().__init__(backbone)
        self.position_offset = int(self.config.pad_token_id) + 1

    def finish(self, h_RD: Tensor, layout: Layout) -> Tensor:
        return h_RD

    def logits(self, features_RD: Tensor, layout: Layout) -> Tensor:
        if self.marks_spans:
            return self.spans(features_RD, layout)
        bounds, sites = layout.row_bounds, self.backbone.sites
        h = layout.dropout(features_RD, self.head_dropout, bounds)
        h = torch.tanh(sites["classifier.dense"](h, bounds))
        return sites["classifier.out_proj"](layout.dropout(h, self.head_dropout, bounds), bounds)
