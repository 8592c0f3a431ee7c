"""The encoder of an encoder-decoder alone, with a linear head on its pooled output.

    pooled = mean over real tokens of encoder(x);  logits = W dropout(pooled) + b

The decoder's weights are neither loaded nor kept, which leaves less than half of a T5. The mean is
pooled because T5 has no token that was trained to stand for a text: its encoder's mean serves
classification better than its first token (Ni et al. 2021, Sentence-T5, arXiv 2108.08877, table 2).
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    MT5EncoderModel,
    MT5PreTrainedModel,
    T5EncoderModel,
    T5PreTrainedModel,
    UMT5EncoderModel,
    UMT5PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class _Pooled:
    """What the three architectures share; mixed into their own base, which knows their weights."""

    encoder_class: ClassVar[Any]
    config: Any

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        self.num_labels = config.num_labels
        # its constructor says in the configuration that there is no decoder
        self.transformer = self.encoder_class(copy.deepcopy(config))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.d_model, config.num_labels)
        self.post_init()  # type: ignore[attr-defined]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """input_ids: (B, L); attention_mask: (B, L), ones where not given; logits: (B, C)."""
        states = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        ).last_hidden_state
        if attention_mask is None:
            pooled = states.mean(1)
        else:
            real = attention_mask.unsqueeze(-1).to(states.dtype)
            pooled = (states * real).sum(1) / real.sum(1)
        logits = self.classifier(self.dropout(pooled).to(self.classifier.weight.dtype))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class T5EncoderForSequenceClassification(_Pooled, T5PreTrainedModel):  # type: ignore[misc] # untyped there
    """T5, its encoder alone."""

    encoder_class = T5EncoderModel
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"decoder", r"lm_head"]


class MT5EncoderForSequenceClassification(_Pooled, MT5PreTrainedModel):  # type: ignore[misc] # untyped there
    """mT5, its encoder alone."""

    encoder_class = MT5EncoderModel
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"decoder", r"lm_head"]


class UMT5EncoderForSequenceClassification(_Pooled, UMT5PreTrainedModel):  # type: ignore[misc] # untyped there
    """umT5, its encoder alone."""

    encoder_class = UMT5EncoderModel
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"decoder", r"lm_head"]


CLASSES = {
    "t5": T5EncoderForSequenceClassification,
    "mt5": MT5EncoderForSequenceClassification,
    "umt5": UMT5EncoderForSequenceClassification,
}


class AutoEncoderClassifier:
    """Chooses the class by the configuration, as transformers' `Auto` classes do."""

    @staticmethod
    def from_config(config: Any, dtype: torch.dtype | None = None) -> Any:
        """A model with random weights.

        Raises ValueError for an architecture whose encoder cannot be had alone.
        """
        return _class_for(config)._from_config(config, dtype=dtype)

    @staticmethod
    def from_pretrained(path: Any, revision: str = "main", **kwargs: Any) -> Any:
        """The encoder of a saved encoder-decoder, or what was saved of this class."""
        from transformers import AutoConfig

        made = _class_for(AutoConfig.from_pretrained(path, revision=revision))
        return made.from_pretrained(path, revision=revision, **kwargs)


def _class_for(config: Any) -> Any:
    try:
        return CLASSES[config.model_type]
    except KeyError:
        raise ValueError(
            f"the encoder of a {config.model_type} cannot be had alone here (that is for "
            f"{', '.join(CLASSES)}); leave `head_on` out of the task"
        ) from None
