"""LoRA on the keys and values alone of GPT-2's fused projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.methods import tiny
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import BackboneOptions, inspect
from tuneoff.errors import TuneoffError
from tuneoff.methods.dora import DoRA
from tuneoff.methods.hooks.fused_parts import PARTS, FusedParts
from tuneoff.methods.lora import LoRA

CHOICES = [("key", "value"), ("query", "value"), ("value",), PARTS]


def lora(*parts: str, **settings: Any) -> LoRA:
    return LoRA(rank=4, target_modules="qkv", fused_parts=parts, **settings)  # type: ignore[arg-type]


def merged_linear(x: Tensor, y: Tensor, hook: FusedParts, parts: tuple[str, ...]) -> Tensor:
    """microsoft/LoRA `MergedLinear.forward` with `enable_lora`, in its own words."""
    enable = [name in parts for name in PARTS]
    groups = sum(enable)
    after_A = F.linear(x, hook.A)
    after_B = F.conv1d(after_A.t()[None], hook.B[..., None], groups=groups)[0].t()
    place = torch.tensor(enable).repeat_interleave(y.shape[1] // 3)
    padded = y.new_zeros(y.shape)
    padded[:, place] = after_B
    return y + padded * hook.scaling


@pytest.mark.parametrize("rows", [6, 200])  # the second takes the form that updates the weight
@pytest.mark.parametrize("parts", CHOICES, ids="-".join)
def test_equals_merged_linear(parts: tuple[str, ...], rows: int) -> None:
    bone = tiny.backbone("gpt2")
    name = "transformer.h.0.attn.c_attn"
    site = bone.sites[name]
    hooks = tiny.built(lora(*parts), bone, noise=0.3)
    hook = hooks[name]
    assert isinstance(hook, FusedParts)
    attach(bone, [hooks])
    x = torch.randn(rows, 16, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(rows, 48, dtype=torch.float64)
    expected = merged_linear(x, x @ site.weight().t() + site.bias, hook, parts)
    theirs = torch.autograd.grad(expected, [x, hook.A, hook.B], grad)
    got = site(x, [(0, rows)])
    ours = torch.autograd.grad(got, [x, hook.A, hook.B], grad)
    assert torch.allclose(got, expected, atol=1e-12, rtol=0)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-11, rtol=0)
    frozen = site.frozen(x)  # parts that were not named stay, to the last bit of the product
    for place, part in enumerate(PARTS):
        moved = (got - frozen)[:, 16 * place : 16 * (place + 1)].abs().max()
        assert (float(moved) > 1e-3) == (part in parts)
    wrong = merged_linear(x, frozen, hook, parts[::-1] if len(parts) == 2 else parts)
    other = [p for p in CHOICES if len(p) == len(parts) and p != parts]
    if other:  # negative control: the same numbers in other places
        wrong = merged_linear(x, frozen, hook, other[0])
        assert float((wrong - got).abs().max()) > 1e-3


def test_only_the_parts_are_trained() -> None:
    """As many numbers as two projections of their own would have; a cohort may mix them."""
    bone = tiny.backbone("gpt2")
    hooks = tiny.built(lora("key", "value"), bone, noise=0.3)
    assert sum(p.numel() for p in tiny.parameters(hooks)) == 2 * 2 * (4 * 16 + 16 * 4)
    whole = tiny.built(LoRA(rank=4, target_modules="qkv"), bone, noise=0.3)
    other = tiny.built(lora("query"), bone, noise=0.3)
    inputs = tiny.batch(6)
    together = tiny.logits(bone, [hooks, whole, other], inputs)
    for k, one in enumerate((hooks, whole, other)):
        part = {key: value[2 * k : 2 * k + 2] for key, value in inputs.items()}
        assert torch.allclose(
            together[2 * k : 2 * k + 2], tiny.logits(bone, [one], part), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_holds_the_same_update(rslora: bool, tmp_path: Path) -> None:
    """Its adapter computes our logits, and comes back into our hooks."""
    from peft import get_peft_model, set_peft_model_state_dict

    method = lora("key", "value", use_rslora=rslora)
    bone = tiny.backbone("gpt2")
    hooks = tiny.built(method, bone, noise=0.3)
    inputs = tiny.batch()
    ours = tiny.logits(bone, [hooks], inputs)
    state = method.peft_state(hooks)
    config = method.peft_config(bone)
    model = get_peft_model(tiny.model("gpt2"), config, autocast_adapter_dtype=False).double().eval()
    whole = {**state, "score.weight": bone.model.score.weight}
    found = set_peft_model_state_dict(
        model, {f"base_model.model.{name}": value for name, value in whole.items()}
    )
    assert not found.unexpected_keys
    theirs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    assert torch.allclose(theirs, ours, atol=1e-12, rtol=0)
    fresh = tiny.built(method, bone, seed=7, noise=0.3)
    assert not torch.allclose(tiny.logits(bone, [fresh], inputs), ours, atol=1e-6)
    with torch.no_grad():
        method.load_peft_state(fresh, state)
    assert torch.equal(tiny.logits(bone, [fresh], inputs), ours)
    with pytest.raises(TuneoffError, match="expected"), torch.no_grad():
        lora("value").load_peft_state(tiny.built(lora("value"), bone), state)


def test_folds_into_the_weights() -> None:
    bone = tiny.backbone("gpt2")
    hooks = tiny.built(lora("key", "value"), bone, noise=0.3)
    inputs = tiny.batch()
    expected = tiny.logits(bone, [hooks], inputs)
    for name, hook in hooks.items():
        folded = hook.merged(bone.sites[name])
        assert folded is not None
        bone.sites[name].module.load_state_dict(folded)
    assert torch.allclose(tiny.logits(bone, [{}], inputs), expected, atol=1e-12, rtol=0)


def test_faults(tmp_path: Path) -> None:
    shape = inspect(BackboneOptions(tiny.saved(tmp_path, "bert")))
    (problem,) = LoRA(fused_parts=("key",)).problems(shape)
    assert problem.startswith("fused_parts: ")
    assert "c_attn" in problem
    shape = inspect(BackboneOptions(tiny.saved(tmp_path, "gpt2")))
    assert lora("key", "value").problems(shape) == []
    (problem,) = LoRA(rank=17, fused_parts=("key",)).problems(shape)
    assert problem.startswith("rank: 17")
    with pytest.raises(ValueError, match="no effect under use_dora"):
        DoRA(fused_parts=("key",))
    with pytest.raises(ValueError, match="fused_parts"):
        LoRA(fused_parts=())
