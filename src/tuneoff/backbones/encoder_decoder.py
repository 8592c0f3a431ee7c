"""An encoder as an encoder-decoder: the same weights twice, with cross-attention between.

transformers' `EncoderDecoderModel` (bert2bert) from one folder: its encoder reads, a copy with a
causal mask writes, and what the copy's new cross-attention reads comes from the encoder. The new
cross-attention, and an output head that the folder does not bring, have no pretrained weights:
every method trains them (`new_cross_attention: frozen` leaves the cross-attention as it was drawn,
as PEFT does), and they are never quantized.

Source: Rothe et al. 2020 (arXiv 1907.12461); transformers `modeling_encoder_decoder.py` (5.23).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tuneoff.errors import BackboneError

CROSS = ".crossattention."


def pair_config(config: Any, model: str) -> Any:
    """The configuration of both halves, from an encoder's.

    Raises BackboneError where the architecture has no decoder with cross-attention.
    """
    import inspect

    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, EncoderDecoderConfig

    decoder = copy.deepcopy(config)
    decoder.is_decoder = decoder.add_cross_attention = True
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if kind is None or "encoder_hidden_states" not in inspect.signature(kind.forward).parameters:
        raise BackboneError(
            f"backbone {model!r}: a {config.model_type} cannot read what an encoder says "
            "(transformers has no cross-attention for it), so it cannot write; use a BERT or "
            "RoBERTa, an encoder-decoder such as T5, or a decoder"
        )
    return EncoderDecoderConfig.from_encoder_decoder_configs(copy.deepcopy(config), decoder)


def weightless(config: Any) -> Any:
    """The model of a pair's configuration, on the device in force."""
    from transformers import EncoderDecoderModel

    return without_pooler(EncoderDecoderModel(config))


def loaded(config: Any, load: Callable[..., Any], quantize: Callable[[str], Any]) -> Any:
    """The model with its weights, and its loading information with names as in the whole.

    load: `load(auto class, **settings)`; quantize: prefix of a half -> its quantization settings.
    """
    from transformers import AutoModel, AutoModelForCausalLM, EncoderDecoderModel

    halves, missing = {}, []
    for name, auto, own in (
        ("encoder", AutoModel, config.encoder),
        ("decoder", AutoModelForCausalLM, config.decoder),
    ):
        halves[name], info = load(auto, config=own, **quantize(f"{name}."))
        missing += [f"{name}.{key}" for key in info["missing_keys"]]
    model = EncoderDecoderModel(config=config, **halves)
    return without_pooler(model), {"missing_keys": missing, "mismatched_keys": []}


def without_pooler(model: Any) -> Any:
    """The pooler gives one row per text, which a decoder does not read."""
    if getattr(model.encoder, "pooler", None) is not None:
        model.encoder.pooler = None
    return model


def name_tokens(model: Any, tokenizer: Any) -> None:
    """Tells the configurations what texts begin, end and are padded with."""
    config = model.config
    start = next(
        (t for t in (tokenizer.cls_token_id, tokenizer.bos_token_id) if t is not None), None
    )
    config.decoder_start_token_id = start
    config.eos_token_id = end_of(tokenizer)
    config.pad_token_id = tokenizer.pad_token_id
    config.vocab_size = config.decoder.vocab_size
    for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, name, getattr(config, name))


def end_of(tokenizer: Any) -> int | None:
    """The token that ends a text: the tokenizer's, or what an encoder puts behind one."""
    own: int | None = tokenizer.eos_token_id
    return tokenizer.sep_token_id if own is None else own
