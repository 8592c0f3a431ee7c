"""Hooks folded into the weights: a plain Hugging Face model that needs neither PEFT nor tuneoff.

Everything is float32. On a quantized backbone the frozen weights are the dequantized ones, so that
the merged model computes what the quantized one did, and costs its full size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tuneoff.backbones import encoder_decoder
from tuneoff.backbones.backbone import Backbone, model_class
from tuneoff.backbones.sites import Hook, Site
from tuneoff.errors import BackboneError
from tuneoff.winner.scorer import whole_of


def unmergeable(backbone: Backbone, hooks: Mapping[str, Hook]) -> str | None:
    """What cannot be folded: the class of the first such hook, or a reason; None when all can."""
    if whole := whole_of(hooks):
        return whole.unmergeable()
    with torch.no_grad():
        for name, hook in hooks.items():
            if hook.merged(backbone.sites[name]) is None:
                return type(hook).__name__
    return None


@torch.no_grad()
def merged_state(backbone: Backbone, hooks: Mapping[str, Hook]) -> dict[str, Tensor]:
    """Every parameter of the model by its Hugging Face name, hooks folded in, float32 (float64 on
    a float64 backbone), on the CPU."""
    if whole := whole_of(hooks):
        return {
            name: value.detach().cpu().clone()
            for name, value in whole.unloaded().named_parameters(remove_duplicate=False)
        }
    state: dict[str, Tensor] = {}
    for name, site in backbone.sites.items():
        parameters = _folded(site, hooks[name]) if name in hooks else _frozen(site)
        for part, value in parameters.items():
            wide = value if value.dtype == torch.float64 else value.float()
            state[f"{name}.{part}"] = wide.detach().cpu().contiguous()
    for names in _aliases(backbone.model):  # a tied weight has one site, and several names
        known = next((name for name in names if name in state), None)
        if known is not None:
            state |= {name: state[known] for name in names if name not in state}
    return state


def _aliases(model: Any) -> list[list[str]]:
    """The names of each parameter."""
    found: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return list(found.values())


def save_merged(backbone: Backbone, hooks: Mapping[str, Hook], folder: Path) -> None:
    """A folder that transformers' `from_pretrained` loads, with the tokenizer.

    Raises BackboneError when the folded parameters are not those that the model has.
    """
    state = merged_state(backbone, hooks)
    model = _unquantized(backbone, next(iter(state.values())).dtype, _tied(backbone, state))
    for name, site in backbone.sites.items():
        # what bitsandbytes rounds of GPT-2's (I, O) weights it holds the other way round
        if site.quantized and type(model.get_submodule(name)).__name__ == "Conv1D":
            state[f"{name}.weight"] = state[f"{name}.weight"].t().contiguous()
    aliases = _aliases(model)
    missing = {names[0] for names in aliases if not state.keys() & set(names)}
    extra = state.keys() - {name for names in aliases for name in names}
    if missing or extra:
        raise BackboneError(
            f"{backbone.options.model}: cannot be merged, the parameters do not fit the model: "
            f"missing {sorted(missing)[:3]}, unknown {sorted(extra)[:3]}"
        )
    # strict=False for buffers, which come from the configuration, and other names of tied weights
    model.load_state_dict(state, strict=False)
    model.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes files that nobody else may read
    save_tokenizer(backbone.tokenizer, folder)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files; without a padding token it gets the one for the end of a text, since
    other programs pad. The ids of a text stay the same."""
    saved = copy.deepcopy(tokenizer)
    if saved.pad_token_id is None and saved.eos_token_id is not None:
        saved.pad_token = saved.eos_token
    # what truncation the last call set on the fast tokenizer is no part of it
    if saved.is_fast:
        saved.backend_tokenizer.no_truncation()
        saved.backend_tokenizer.no_padding()
    saved.save_pretrained(folder)


def _folded(site: Site, hook: Hook) -> dict[str, Tensor]:
    parameters = hook.merged(site)
    if parameters is None:
        raise BackboneError(f"{site.name}: {type(hook).__name__} cannot be folded into the weights")
    return parameters


def _frozen(site: Site) -> dict[str, Tensor]:
    if not site.quantized:
        return dict(site.module.named_parameters(recurse=False))
    parameters = {"weight": site.weight()}
    if site.bias is not None:
        parameters["bias"] = site.bias
    return parameters


def _tied(backbone: Backbone, state: Mapping[str, Tensor]) -> bool:
    """False where a method gave the output layer weights of its own, which were the embeddings'."""
    model = backbone.model
    words, output = model.get_input_embeddings(), model.get_output_embeddings()
    if backbone.pair:
        words = model.decoder.get_input_embeddings()
    if output is None or output is words or output.weight is not words.weight:
        return True  # as its configuration says
    names = {id(module): name for name, module in model.named_modules()}
    pair = [state.get(f"{names[id(module)]}.weight") for module in (words, output)]
    return pair[0] is None or pair[1] is None or torch.equal(pair[0], pair[1])


def _unquantized(backbone: Backbone, dtype: torch.dtype, tied: bool) -> Any:
    """The model without its weights, on the CPU, as if it had been loaded plainly.

    tied: False gives the output layer weights of its own.
    """
    config = copy.deepcopy(backbone.config)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    config.dtype = dtype
    if not tied:
        (config.decoder if backbone.pair else config).tie_word_embeddings = False
    if backbone.pair:
        return encoder_decoder.weightless(config).to(dtype)
    return model_class(backbone.options, backbone.head).from_config(config, dtype=dtype)
