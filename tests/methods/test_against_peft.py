"""LoRA, DoRA and IA3 give PEFT's logits, loss and gradients, with the same weights in both."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from tests.methods import tiny
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.sites import Hook
from tuneoff.methods import Method
from tuneoff.methods._peft_form import adapter_state
from tuneoff.methods.dora import DoRA
from tuneoff.methods.ia3 import IA3
from tuneoff.methods.lora import LoRA

EXACT = 1e-10

METHODS: dict[str, Method] = {
    "lora": LoRA(rank=4),
    "lora_alpha_5": LoRA(rank=2, lora_alpha=5, target_modules=("query", "value")),
    "rslora": LoRA(rank=4, use_rslora=True),
    "dora": DoRA(rank=4),
    "ia3": IA3(),
}


def theirs(bone: Backbone, method: Method, hooks: dict[str, Hook]) -> Any:
    """PEFT's model around a copy of ours, with the hooks' values in it, trained as PEFT does."""
    config = method.peft_config(bone)
    config.inference_mode = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(bone.model), config, autocast_adapter_dtype=False)
    state = adapter_state(method, hooks, tiny.heads(bone))
    assert set(state) == set(peft.get_peft_model_state_dict(model))
    peft.set_peft_model_state_dict(model, state)
    return model.train()


def their_gradients(model: Any, method: Method, hooks: dict[str, Hook]) -> dict[str, Tensor]:
    """Gradients of PEFT's model under the hooks' parameter names."""
    named = dict(model.named_parameters())
    gradients = {}
    for site, hook in hooks.items():
        for ours, suffix in method.peft_names.items():
            if ours not in hook._parameters:
                continue
            first, _, rest = suffix.partition(".")
            name = f"base_model.model.{site}.{first}.default" + (f".{rest}" if rest else "")
            value = named.get(name, named.get(name + ".weight"))
            assert value is not None, name
            assert value.grad is not None, name
            gradients[f"{site}.{ours}"] = value.grad
    return gradients


def our_gradients(hooks: dict[str, Hook]) -> dict[str, Tensor]:
    return {
        f"{site}.{name}": parameter.grad
        for site, hook in hooks.items()
        for name, parameter in hook.named_parameters()
        if parameter.grad is not None
    }


def largest(ours: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    assert set(ours) == set(others)
    return max(float((ours[name] - others[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_equals_peft(name: str, family: str) -> None:
    method, inputs = METHODS[name], tiny.batch()
    bone = tiny.backbone(family)
    hooks = tiny.built(method, bone, noise=0.2)
    for hook in hooks.values():
        hook.train()
    model = theirs(bone, method, hooks)

    expected = model(**inputs)
    their_loss = tiny.loss(expected.logits, inputs["labels"])  # DeBERTa takes its own in float32
    their_loss.backward()
    found = tiny.logits(bone, [hooks], inputs)
    loss = tiny.loss(found, inputs["labels"])
    loss.backward()

    assert float((found - expected.logits).detach().abs().max()) < EXACT
    assert abs(float(loss.detach() - their_loss.detach())) < EXACT
    assert largest(our_gradients(hooks), their_gradients(model, method, hooks)) < EXACT

    # negative controls: each of these must be seen
    first = next(iter(hooks.values()))
    with torch.no_grad():
        next(p for n, p in first.named_parameters() if n != "A").add_(0.05)
    assert float((tiny.logits(bone, [hooks], inputs) - expected.logits).detach().abs().max()) > 1e-7
    assert float((tiny.logits(bone, [{}], inputs) - expected.logits).detach().abs().max()) > 1e-4


@pytest.mark.parametrize("change", [{"lora_alpha": 17}, {"use_rslora": True}, {"use_dora": True}])
def test_another_setting_gives_other_logits(change: dict[str, Any]) -> None:
    bone, inputs = tiny.backbone("bert"), tiny.batch()
    hooks = tiny.built(LoRA(rank=4), bone, noise=0.2)
    other = tiny.built(LoRA(rank=4, **change), bone)
    for name, hook in other.items():
        hook.load_state_dict(hooks[name].state_dict(), strict=False)
    difference = tiny.logits(bone, [hooks], inputs) - tiny.logits(bone, [other], inputs)
    assert float(difference.detach().abs().max()) > 1e-3


def test_pefts_own_ia3_targets() -> None:
    """BERT as PEFT maps it: the attention's output projection is scaled on its input as well."""
    bone, inputs = tiny.backbone("bert"), tiny.batch()
    method = IA3(
        target_modules=("key", "value", "output.dense"), feedforward_modules=("output.dense",)
    )
    hooks = tiny.built(method, bone, noise=0.2)
    config = peft.IA3Config(task_type="SEQ_CLS")
    model = peft.get_peft_model(copy.deepcopy(bone.model), config, autocast_adapter_dtype=False)
    state = adapter_state(method, hooks, tiny.heads(bone))
    assert not peft.set_peft_model_state_dict(model, state).unexpected_keys
    difference = tiny.logits(bone, [hooks], inputs) - model(**inputs).logits
    assert float(difference.detach().abs().max()) < EXACT
    default = tiny.built(IA3(), bone, noise=0.2)
    assert set(default) < set(hooks)


def test_same_start_as_peft() -> None:
    """A uniform with the same bound, B zero, and LoRA's scale at the start."""
    bone = tiny.backbone("bert")
    hooks = tiny.built(LoRA(rank=16), bone)
    model = peft.get_peft_model(copy.deepcopy(bone.model), LoRA(rank=16).peft_config(bone))
    ours = torch.cat([hook.get_parameter("A").flatten() for hook in hooks.values()])
    others = torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])
    assert abs(float(ours.std() / others.std()) - 1) < 0.05
    assert abs(float(ours.abs().max() / others.abs().max()) - 1) < 0.02
    assert all(not hook.get_parameter("B").any() for hook in hooks.values())
    again = tiny.built(LoRA(rank=16), bone)
    assert all(torch.equal(again[n].get_parameter("A"), hooks[n].get_parameter("A")) for n in hooks)
    other = tiny.built(LoRA(rank=16), bone, seed=1)
    assert not torch.equal(
        next(iter(other.values())).get_parameter("A"), next(iter(hooks.values())).get_parameter("A")
    )


def test_dropout_is_the_streams() -> None:
    """LoRA with dropout equals a by-hand product with the stream's masks; no dropout in eval."""
    from tuneoff.training.streams import Stream

    bone = tiny.backbone("bert")
    hooks = tiny.built(LoRA(rank=4, lora_dropout=0.5), bone, noise=0.2)
    name, hook = next(iter(hooks.items()))
    site = bone.sites[name]
    site.hooks = [hook]
    x = torch.randn(6, site.in_features, dtype=torch.float64)
    hook.train().stream = Stream(3)
    y = site(x, [(0, 6)])
    mask = Stream(3).mask(x.shape, 0.5, x)
    a, b = hook.get_parameter("A"), hook.get_parameter("B")
    expected = site.frozen(x) + 4.0 * (x * mask) @ a.T @ b.T
    assert float((y - expected).detach().abs().max()) < EXACT
    hook.eval()
    still = site.frozen(x) + 4.0 * x @ a.T @ b.T
    assert float((site(x, [(0, 6)]) - still).detach().abs().max()) < EXACT
    assert float((y - still).detach().abs().max()) > 1e-3
