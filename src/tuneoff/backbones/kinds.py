"""What a configuration says of an architecture: its kind, and how much it can read."""

from __future__ import annotations

from typing import Any

from tuneoff.backbones.names import BackboneKind

_DECODERS = frozenset(
    [
        "gpt2",
        "gpt_neo",
        "gptj",
        "gpt_neox",
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi",
        "phi3",
        "opt",
        "bloom",
        "falcon",
        "stablelm",
        "olmo",
        "olmo2",
        "starcoder2",
        "smollm3",
        "granite",
        "mpt",
    ]
)
_RELATIVE = ("t5", "mt5", "umt5")
"""Architectures without positions of their own: texts may be of any length."""


def kind_of_config(config: Any) -> BackboneKind:
    """Encoder, decoder or encoder-decoder."""
    if getattr(config, "is_encoder_decoder", False):
        return "encoder_decoder"
    return "decoder" if config.model_type in _DECODERS else "encoder"


def positions_of(config: Any) -> int | None:
    """Tokens that a model can read at most; None where positions are relative."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or config.model_type in _RELATIVE:
        return None
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        limit -= int(config.pad_token_id) + 1  # positions begin behind the padding's
    return int(limit)
