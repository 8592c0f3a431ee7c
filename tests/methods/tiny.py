"""Tiny randomly initialised models and what the tests of methods do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from tuneoff.backbones.attach import attach, intercepted
from tuneoff.backbones.backbone import Backbone, BackboneOptions, _wrap
from tuneoff.backbones.sites import Hook, Own
from tuneoff.methods import Method

FAMILIES = ("bert", "gpt2", "t5", "llama", "opt", "deberta")
CLASSES = 3


def config(family: str) -> Any:
    """A configuration of two blocks, 16 features, no dropout."""
    small: dict[str, Any] = {"vocab_size": 40, "num_labels": CLASSES, "pad_token_id": 0}
    if family == "bert":
        return transformers.BertConfig(
            **small,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    if family == "gpt2":
        return transformers.GPT2Config(
            **small,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=24,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    if family == "t5":
        return transformers.T5Config(
            **small,
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            dropout_rate=0.0,
            eos_token_id=1,
            decoder_start_token_id=0,
            classifier_dropout=0.0,
        )
    if family == "opt":
        return transformers.OPTConfig(
            **small,
            hidden_size=16,
            word_embed_proj_dim=8,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=24,
            dropout=0.0,
        )
    if family == "deberta":
        return transformers.DebertaV2Config(
            **small,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=24,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            relative_attention=True,
            position_buckets=4,
            pos_att_type=["c2p", "p2c"],
            norm_rel_ebd="layer_norm",
        )
    return transformers.LlamaConfig(
        **small,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=24,
        attention_dropout=0.0,
    )


def model(
    family: str,
    head: str = "sequence_classification",
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Any:
    """The Hugging Face model, frozen, with biases and norms away from their trivial start."""
    torch.manual_seed(seed)
    auto = {
        "sequence_classification": transformers.AutoModelForSequenceClassification,
        "causal_lm": transformers.AutoModelForCausalLM,
    }[head]
    made = auto.from_config(config(family)).eval().to(dtype)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, dtype=dtype))
            elif "score" not in name and "classif" not in name:
                parameter.mul_(3.0)
    return made.requires_grad_(False)


def backbone(family: str, head: str = "sequence_classification", **kwargs: Any) -> Backbone:
    """A backbone around `model`."""
    return wrapped(model(family, head, **kwargs), head)


def wrapped(made: Any, head: str = "sequence_classification", **options: Any) -> Backbone:
    """A backbone around any model in memory."""
    return _wrap(
        BackboneOptions(model="tiny", **options),
        head,
        made,
        None,  # type: ignore[arg-type]
        torch.device("cpu"),
        frozenset(),
    )


def batch(rows: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """Token ids without padding, and a label per row."""
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 40, (rows, 7), generator=drawn)
    ids[:, -1] = 1  # T5 classifies at its end token
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.randint(0, CLASSES, (rows,), generator=drawn),
    }


def logits(
    bone: Backbone, members: Sequence[Mapping[str, Hook]], inputs: Mapping[str, Tensor]
) -> Tensor:
    """Logits of the model's own forward through hooks; rows are shared out evenly."""
    attach(bone, members)
    rows = len(inputs["input_ids"]) // len(members)
    bounds = [(k * rows, (k + 1) * rows) for k in range(len(members))]
    with intercepted(bone, bounds):
        out: Tensor = bone.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits
    return out


def loss(out: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, as transformers' classifiers take it."""
    return torch.nn.functional.cross_entropy(out, labels)


def built(method: Method, bone: Backbone, seed: int = 0, noise: float = 0.0) -> dict[str, Hook]:
    """Hooks from a seed; `noise` moves every parameter away from its start."""
    hooks = method.build(bone, torch.Generator().manual_seed(seed))
    drawn = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for parameter in parameters(hooks):
            parameter.add_(
                noise * torch.randn(parameter.shape, generator=drawn, dtype=parameter.dtype)
            )
    return hooks


def heads(bone: Backbone) -> dict[str, Hook]:
    """The engine's trained copies of the heads."""
    return {site.name: Own(site) for site in bone.head_sites}


def parameters(hooks: Mapping[str, Hook]) -> list[torch.nn.Parameter]:
    """Every parameter once, tied ones too."""
    found = {id(p): p for hook in hooks.values() for p in hook.parameters()}
    return list(found.values())


@cache
def _saved(folder: str, family: str) -> str:
    place = Path(folder) / family
    config(family).save_pretrained(place)
    return str(place)


def saved(folder: Path, family: str) -> str:
    """A folder with the configuration alone: enough for `inspect`."""
    return _saved(str(folder), family)
