"""BERTScore: the words of two texts matched by the cosines of their contextual embeddings.

Each token of the answer looks for the most similar token of the reference: their mean cosine is the
precision; the recall is the other way around, F1 the harmonic mean. All tokens weigh alike (no
inverse document frequencies), [CLS] and [SEP] nothing; no rescaling. Of several references the best
counts, for precision, recall and F1 each.

Source: Zhang et al. 2020, arXiv 1904.09675; equals the `bert-score` package for encoders of BERT's
and RoBERTa's kind, at the same layer.
Letters: B pairs in a batch, T tokens of a text, S tokens of its reference, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from tuneoff.backbones.names import whole_path
from tuneoff.metrics import Metric
from tuneoff.metrics.predicted_rows import Predicted

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 1 << 20  # tokenizers that know no limit say something far beyond


class Bertscore(Metric):
    """What the three BERTScores share. Scores depend on the encoder and its layer: both stand in
    the record, and scores of different ones cannot be compared."""

    encoder: str = "mini-bert"
    """A built-in name, a folder or a Hugging Face name of an encoder. `roberta-large` at layer 17
    is what the paper's package takes for English."""
    layer: int | None = Field(default=None, ge=0)
    """Whose hidden states are compared; null takes three quarters of the depth, as bert-score's
    table has it for BERT (9 of 12, 18 of 24)."""
    batch_size: int = Field(default=64, gt=0)
    """Pairs of texts at a time. Source: bert-score's default."""

    needs = "texts"
    bounds = (0.0, 1.0)
    per_example = True
    at_the_end = True

    @field_validator("encoder")
    @classmethod
    def _find_folder(cls, encoder: str, info: ValidationInfo) -> str:
        return whole_path(encoder, (info.context or {}).get("folder"))

    def problems(self) -> list[str]:
        from tuneoff.backbones.backbone import BackboneOptions, read_config
        from tuneoff.errors import BackboneError

        try:
            depth = read_config(BackboneOptions(self.encoder)).num_hidden_layers
        except BackboneError as error:
            return [f"encoder: {error}"]
        except AttributeError:
            return [f"encoder: {self.encoder} does not say how many layers it has; take an encoder"]
        if self.layer is not None and self.layer > depth:
            return [
                f"layer: must be at most {depth}, the depth of {self.encoder}; got {self.layer}"
            ]
        return []

    def identity(self) -> dict[str, Any]:
        from tuneoff.identity import backbone_fingerprint

        return {"encoder": backbone_fingerprint(self.encoder, None), "layer": self.layer}

    def details(self, rows: Predicted) -> dict[str, Any]:
        return dict(self._matched(rows).details)

    def _matched(self, rows: Predicted) -> Matched:
        assert rows.texts is not None
        assert rows.references is not None
        return matched(
            self.encoder,
            self.layer,
            self.batch_size,
            tuple(map(str, rows.texts)),
            tuple(tuple(many) for many in rows.references),
        )


@dataclass(frozen=True)
class Matched:
    """(n, 3): precision, recall and F1 of each text; and with what they were found."""

    scores: np.ndarray
    details: dict[str, Any]


@lru_cache(maxsize=2)  # precision, recall and F1 are one computation
def matched(
    model: str,
    layer: int | None,
    batch_size: int,
    texts: tuple[str, ...],
    references: tuple[tuple[str, ...], ...],
) -> Matched:
    """Every text against its references; zeros for a text that has none, or is empty."""
    encoder = _Encoder(model, layer)
    pairs = [(row, text, one) for row, text in enumerate(texts) for one in references[row]]
    pairs.sort(key=lambda pair: len(pair[1]) + len(pair[2]), reverse=True)
    best = np.full((len(texts), 3), -np.inf)
    for at in range(0, len(pairs), batch_size):
        rows, left, right = zip(*pairs[at : at + batch_size], strict=True)
        np.maximum.at(best, list(rows), encoder.match(left, right))
    best[[row for row, many in enumerate(references) if not many]] = 0.0
    return Matched(np.clip(best, 0.0, 1.0), encoder.details())


class _Encoder:
    """The model that embeds tokens, on the GPU where there is one."""

    def __init__(self, model: str, layer: int | None):
        import torch
        from transformers import AutoModel

        from tuneoff.backbones.backbone import BackboneOptions, load_tokenizer
        from tuneoff.backbones.plain import load_plain
        from tuneoff.identity import backbone_fingerprint

        options = BackboneOptions(model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(options)
        self.model = load_plain(options, AutoModel).to(self.device)
        self.name, self.content = model, backbone_fingerprint(model, None)
        self.depth = self.model.config.num_hidden_layers
        self.layer = round(0.75 * self.depth) if layer is None else layer
        places = getattr(self.model.config, "max_position_embeddings", _LONGEST)
        if self.model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            places -= self.model.config.pad_token_id + 1  # where their first position stands
        self.longest = min(self.tokenizer.model_max_length, places)
        self.truncated = 0

    def match(self, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(B, 3) precision, recall and F1."""
        import torch

        with torch.no_grad():
            x_BTD, here_BT, weight_BT = self._embedded(texts)
            y_BSD, there_BS, weight_BS = self._embedded(references)
            cosine_BTS = x_BTD @ y_BSD.mT
            away = ~(here_BT[:, :, None] & there_BS[:, None, :])
            cosine_BTS = cosine_BTS.masked_fill(away, -torch.inf)
            precision_B = _mean(cosine_BTS.amax(2), weight_BT)
            recall_B = _mean(cosine_BTS.amax(1), weight_BS)
            empty = (here_BT.sum(1) == 2) | (there_BS.sum(1) == 2)
            f1_B = 2 * precision_B * recall_B / (precision_B + recall_B)
            found = torch.stack([precision_B, recall_B, f1_B], 1)
            found = found.masked_fill(empty[:, None], 0.0).nan_to_num(0.0)
        return np.asarray(found.double().cpu().numpy())

    def _embedded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) vectors of length one, (B, T) what is no padding, (B, T) what is a word."""
        import torch

        ids = [self.tokenizer(text.strip())["input_ids"] for text in texts]
        self.truncated += sum(len(one) > self.longest for one in ids)
        if any(len(one) > self.longest for one in ids):
            ids = self.tokenizer(
                [text.strip() for text in texts], truncation=True, max_length=self.longest
            )["input_ids"]
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        real = padded["attention_mask"].bool()
        states = self.model(
            input_ids=padded["input_ids"],
            attention_mask=padded["attention_mask"],
            output_hidden_states=True,
        ).hidden_states[self.layer]
        ends = torch.tensor(
            [self.tokenizer.cls_token_id, self.tokenizer.sep_token_id], device=self.device
        )
        words = real & ~torch.isin(padded["input_ids"], ends)
        return states / states.norm(dim=-1, keepdim=True), real, words.float()

    def details(self) -> dict[str, Any]:
        """What the record says."""
        return {
            "encoder": self.name,
            "encoder_content": self.content,
            "layer": self.layer,
            "layers": self.depth,
            "idf": False,
            "rescaled": False,
            "truncated_texts": self.truncated,
        }


def _mean(best_BT: Tensor, weight_BT: Tensor) -> Tensor:
    """(B,) mean over the tokens that weigh something; not a number where none does."""
    kept = best_BT.masked_fill(weight_BT == 0, 0.0)
    return (kept * weight_BT).sum(1) / weight_BT.sum(1)
