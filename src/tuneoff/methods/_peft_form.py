"""What every PEFT configuration of ours has in common, and the tensors that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook
    from tuneoff.methods import Method

TASK_TYPES = {
    "sequence_classification": "SEQ_CLS",
    "encoder_classification": "SEQ_CLS",
    "causal_lm": "CAUSAL_LM",
    "seq2seq_lm": "SEQ_2_SEQ_LM",
    "question_answering": "QUESTION_ANS",
}


def common(backbone: Backbone) -> dict[str, Any]:
    """Task type, where the backbone is, and the heads that are saved with the adapter."""
    from tuneoff.backbones.backbone import resolve

    return {
        "task_type": TASK_TYPES[backbone.head],
        "base_model_name_or_path": resolve(backbone.options.model),
        "modules_to_save": head_modules(backbone) or None,
        "inference_mode": True,
    }


def head_modules(backbone: Backbone) -> list[str]:
    """The modules that hold the new heads: the whole head where it stands outside the backbone
    (`classifier`), the layer itself where the backbone holds it (`bert.pooler.dense`)."""
    if backbone.pair:
        return [site.name for site in backbone.head_sites]
    inside = backbone.base_prefix + "."
    names = [
        site.name if site.name.startswith(inside) else site.name.split(".", 1)[0]
        for site in backbone.head_sites
    ]
    return list(dict.fromkeys(names))


def adapter_state(
    method: Method, hooks: Mapping[str, Hook], heads: Mapping[str, Hook]
) -> dict[str, torch.Tensor]:
    """The tensors of PEFT's `adapter_model.safetensors`: the adapter's, and those of the heads.

    heads: the engine's `Own` hooks of the head sites, by site name.
    """
    state = dict(method.peft_state(hooks))
    for site, head in heads.items():
        state |= {f"{site}.{name}": value.detach() for name, value in head.named_parameters()}
    return {f"base_model.model.{name}": value.clone().contiguous() for name, value in state.items()}
