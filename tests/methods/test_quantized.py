"""LoRA, DoRA and IA3 on a 4-bit backbone equal PEFT's on the same `Linear4bit` layers.

PEFT's model stays in training mode: in evaluation, bitsandbytes repacks the weights of some CPUs.
"""

from __future__ import annotations

import copy
import warnings

import peft
import pytest
import torch
from torch import nn

from tests.methods import tiny
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.quantization import dequantize, keep_dequantized
from tuneoff.backbones.sites import Site
from tuneoff.methods import Method
from tuneoff.methods._peft_form import adapter_state
from tuneoff.methods.dora import DoRA
from tuneoff.methods.full import Full
from tuneoff.methods.hooks.low_rank import LowRank
from tuneoff.methods.ia3 import IA3
from tuneoff.methods.lora import LoRA
from tuneoff.methods.qlora import QLoRA
from tuneoff.methods.top_blocks import TopBlocks

bnb = pytest.importorskip("bitsandbytes")


def four_bit(family: str, wide: int = 64) -> Backbone:
    """A float32 model whose block linears are nf4 with double quantization."""
    config = tiny.config("bert" if family == "bert" else "llama")
    config.hidden_size, config.intermediate_size = wide, 2 * wide
    torch.manual_seed(0)
    import transformers

    made = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    made.requires_grad_(False)
    for name, module in list(made.named_modules()):
        if isinstance(module, nn.Linear) and (".layer" in name):
            parent = made.get_submodule(name.rsplit(".", 1)[0])
            replaced = bnb.nn.Linear4bit(
                module.in_features,
                module.out_features,
                bias=module.bias is not None,
                compute_dtype=torch.float32,
                quant_type="nf4",
                compress_statistics=True,
            )
            replaced.weight = bnb.nn.Params4bit(
                module.weight.data * 3,
                requires_grad=False,
                quant_type="nf4",
                compress_statistics=True,
                module=replaced,
            )
            if module.bias is not None:
                replaced.bias = module.bias
            setattr(parent, name.rsplit(".", 1)[1], replaced.to("cpu"))
    made.is_loaded_in_4bit = True
    return tiny.wrapped(made, quantization="nf4")


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("method", [LoRA(rank=4), DoRA(rank=4), IA3()], ids=["lora", "dora", "ia3"])
@pytest.mark.parametrize("kept", [False, True])
def test_equals_peft(method: Method, family: str, kept: bool) -> None:
    bone, inputs = four_bit(family), tiny.batch()
    hooks = tiny.built(method, bone, noise=0.05)
    for hook in hooks.values():
        hook.train()
    config = method.peft_config(bone)
    config.inference_mode = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(copy.deepcopy(bone.model), config)
    assert any("Linear4bit" in type(m).__name__ for m in model.modules())
    peft.set_peft_model_state_dict(model, adapter_state(method, hooks, tiny.heads(bone)))
    model.train()
    if kept:
        assert keep_dequantized(bone, 10**9) > 0

    expected = model(**inputs)
    expected.loss.backward()
    found = tiny.logits(bone, [hooks], inputs)
    tiny.loss(found, inputs["labels"]).backward()
    scale = float(expected.logits.detach().abs().max())
    assert float((found - expected.logits).detach().abs().max()) < 2e-6 * max(scale, 1.0)
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    compared = 0
    for site, hook in hooks.items():
        for ours, suffix in method.peft_names.items():
            grad = dict(hook.named_parameters()).get(ours)
            if grad is None:
                continue
            first, _, rest = suffix.partition(".")
            key = f"base_model.model.{site}.{first}.default" + (f".{rest}" if rest else "")
            theirs = named.get(key, named.get(key + ".weight"))
            assert theirs is not None
            assert grad.grad is not None
            limit = 2e-5 * float(theirs.abs().max()) + 1e-8
            assert float((grad.grad - theirs).abs().max()) < limit, (site, ours)
            compared += 1
    assert compared >= len(hooks)

    with torch.no_grad():  # negative control
        next(iter(hooks.values())).get_parameter("l" if isinstance(method, IA3) else "B").add_(0.05)
    assert float((tiny.logits(bone, [hooks], inputs) - found).detach().abs().max()) > 1e-5


def test_cached_weights_are_bit_equal() -> None:
    """Keeping weights dequantized changes time and memory, and not one bit of the numbers."""
    inputs, results = tiny.batch(), []
    for kept in (False, True):
        bone = four_bit("bert")
        hooks = tiny.built(QLoRA(rank=4), bone, noise=0.05)
        if kept:
            keep_dequantized(bone, 10**9)
        found = tiny.logits(bone, [hooks], inputs)
        tiny.loss(found, inputs["labels"]).backward()
        results.append((found, [p.grad for p in tiny.parameters(hooks)]))
    (plain, grads), (cached, others) = results
    assert torch.equal(plain, cached)
    assert all(
        torch.equal(a, b)
        for a, b in zip(grads, others, strict=True)
        if a is not None and b is not None
    )


def test_merging_starts_from_the_rounded_weights() -> None:
    bone = four_bit("bert")
    hooks = tiny.built(QLoRA(rank=4), bone, noise=0.05)
    name, hook = next(iter(hooks.items()))
    site = bone.sites[name]
    merged = hook.merged(site)
    assert merged is not None
    update = 4.0 * hook.get_parameter("B") @ hook.get_parameter("A")
    expected = (dequantize(site.module) + update).detach()
    assert float((merged["weight"] - expected).abs().max()) < 1e-6
    assert merged["weight"].dtype == torch.float32


@pytest.mark.parametrize("method", [Full(), TopBlocks(k=1)])
def test_quantized_weights_cannot_be_trained(method: Method) -> None:
    bone = tiny.backbone("bert")
    assert method.problems(bone) == []
    for quantization in ("nf4", "int8"):
        rounded = tiny.wrapped(bone.model, quantization=quantization)
        (problem,) = method.problems(rounded)
        assert quantization in problem
        assert LoRA().problems(rounded) == []


def test_qlora_asks_for_four_bits() -> None:
    assert QLoRA.quantization == "nf4"
    assert LoRA.quantization is None


def test_eight_bits_go_through_bitsandbytes_own_product() -> None:
    """LoRA on an int8 layer: the layer's own forward, and the update beside it."""
    torch.manual_seed(0)
    plain = nn.Linear(64, 32)
    module = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False)
    module.load_state_dict(plain.state_dict())
    site = Site("block.0.query", module.to("cpu").requires_grad_(False), "linear", "query", 0)
    hook = LowRank(site, 4, 2.0, 0.0, 1.0, torch.Generator().manual_seed(0))
    nn.init.normal_(hook.B)
    site.hooks = [hook]
    x = torch.randn(10, 64, requires_grad=True)
    y = site(x, [(0, 10)])
    update = 2.0 * x @ hook.A.t() @ hook.B.t()
    assert float((y - (module(x) + update)).detach().abs().max()) < 1e-5
    assert float((y - module(x)).detach().abs().max()) > 0.1
    merged = hook.merged(site)
    assert merged is not None
    wanted = dequantize(module) + 2.0 * (hook.B @ hook.A).detach()
    assert float((merged["weight"] - wanted).abs().max()) < 1e-6
    y.sum().backward()
    assert x.grad is not None
    assert hook.A.grad is not None
