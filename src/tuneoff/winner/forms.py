"""The three forms in which trained weights are saved, written and read back.

peft    adapter_config.json, adapter_model.safetensors (the head in it): `PeftModel` loads it
model   config.json, model.safetensors: transformers' `AutoModelFor...` loads it
hooks   tuneoff_hooks.safetensors: `tuneoff predict` loads it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.names import folder_of
from tuneoff.backbones.sites import Hook
from tuneoff.errors import BackboneError
from tuneoff.methods import Method
from tuneoff.training.whole import Whole
from tuneoff.winner.manifest import Form
from tuneoff.winner.merge import save_merged, save_tokenizer, unmergeable
from tuneoff.winner.scorer import Scorer, empty_hooks, fill, whole_of
from tuneoff.winner.tensors import read_tensors, write_tensors

ADAPTER = "adapter_model.safetensors"
HOOKS = "tuneoff_hooks.safetensors"
WEIGHTS = {"peft": ADAPTER, "model": "model.safetensors", "hooks": HOOKS}
_PREFIX = "base_model.model."


def form_of(backbone: Backbone, method: Method, hooks: Mapping[str, Hook]) -> Form:
    """The form that most programs load: PEFT's where the method has it, else a whole model."""
    if method.peft_config(backbone) is not None and not _more_than_adapter(backbone):
        return "peft"
    # merging a quantized backbone changes what it costs to run, so there it is an extra
    if backbone.options.quantization == "none" and unmergeable(backbone, hooks) is None:
        return "model"
    return "hooks"


def _more_than_adapter(backbone: Backbone) -> bool:
    """Whether the plain backbone with an adapter is not yet the model: it lacks the rows of new
    tokens, or cross-attention that was drawn and not trained."""
    frozen = backbone.pair and backbone.options.new_cross_attention == "frozen"
    return backbone.new_rows > 0 or frozen


def write_form(form: Form, folder: Path, scorer: Scorer, method: Method) -> None:
    """Writes the weights and the tokenizer into a folder."""
    backbone, hooks = scorer.backbone, scorer.hooks
    folder.mkdir(parents=True, exist_ok=True)
    if form == "model":
        save_merged(backbone, hooks, folder)
        return
    whole = whole_of(hooks)
    if whole is not None:
        whole.model.save_pretrained(folder)
    elif form == "peft":
        _write_peft(folder, backbone, method, hooks)
    else:
        named = {
            f"{site}::{name}": parameter.detach()
            for site, hook in hooks.items()
            for name, parameter in hook.named_parameters()
        }
        write_tensors(folder / HOOKS, named)
    save_tokenizer(backbone.tokenizer, folder)


def read_hooks(form: Form, folder: Path, backbone: Backbone, method: Method) -> dict[str, Hook]:
    """The hooks that a folder holds, for a backbone that is loaded; none for a whole model.

    Raises BackboneError or LedgerError when the file is damaged or does not fit.
    """
    if form == "model":
        return {}
    if method.alone:
        return {Whole.NAME: Whole(method, backbone, saved=folder)}
    hooks = empty_hooks(backbone, method)
    tensors = read_tensors(folder / WEIGHTS[form])
    if form == "hooks":
        fill(hooks, tensors)
        return hooks
    heads = {site.name: hooks[site.name] for site in backbone.head_sites}
    state = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    in_head = {
        f"{site}.{name}": f"{site}::{name}"
        for site, hook in heads.items()
        for name, _ in hook.named_parameters()
    }
    missing = in_head.keys() - state.keys()
    if missing:
        raise BackboneError(
            f"{folder / ADAPTER}: the head is not in it ({', '.join(sorted(missing))}); without it "
            "the predictions would be random. Export the winner again"
        )
    fill(heads, {in_head[name]: state.pop(name) for name in in_head})
    method.load_peft_state({k: hook for k, hook in hooks.items() if k not in heads}, state)
    return hooks


def _write_peft(
    folder: Path, backbone: Backbone, method: Method, hooks: Mapping[str, Hook]
) -> None:
    heads = {site.name for site in backbone.head_sites}
    adapter = {name: hook for name, hook in hooks.items() if name not in heads}
    config = method.peft_config(backbone)
    assert config is not None
    config.base_model_name_or_path = _findable(backbone.options.model)
    config.revision = backbone.options.revision
    config.inference_mode = True
    config.save_pretrained(folder)
    state: dict[str, Tensor] = dict(method.peft_state(adapter))
    for name in heads:
        for part, parameter in hooks[name].named_parameters():
            state[f"{name}.{part}"] = parameter.detach()
    write_tensors(folder / ADAPTER, {_PREFIX + name: tensor for name, tensor in state.items()})


def _findable(model: str) -> str:
    """What other libraries find the backbone by: an absolute folder, or its hub name."""
    folder = folder_of(model)
    return model if folder is None else str(folder.absolute())
