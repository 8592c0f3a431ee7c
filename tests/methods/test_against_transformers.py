"""full, last_layer, top_blocks, bitfit and layernorm equal plain transformers with
`requires_grad` switched on for the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.methods import tiny
from tuneoff.backbones.backbone import Backbone
from tuneoff.methods import Method
from tuneoff.methods.bitfit import BitFit
from tuneoff.methods.full import Full
from tuneoff.methods.last_layer import LastLayer
from tuneoff.methods.layernorm import LayerNorm
from tuneoff.methods.top_blocks import TopBlocks

EXACT = 1e-10
TOP = {
    "bert": ("bert.encoder.layer.1.", "bert.pooler."),
    "gpt2": ("transformer.h.1.", "transformer.ln_f."),
    "t5": ("transformer.decoder.block.1.", "transformer.decoder.final_layer_norm."),
    "llama": ("model.layers.1.", "model.norm."),
    "opt": ("model.decoder.layers.1.", "model.decoder.final_", "model.decoder.project_out."),
    "deberta": ("deberta.encoder.layer.1.",),
}

Chooses = Callable[[str, str], bool]
CASES: dict[str, tuple[Method, Chooses]] = {
    "full": (Full(), lambda name, family: True),
    "last_layer": (LastLayer(), lambda name, family: False),
    "top_blocks": (TopBlocks(k=1), lambda name, family: name.startswith(TOP[family])),
    "bitfit": (BitFit(), lambda name, family: name.endswith(".bias")),
    "layernorm": (
        LayerNorm(),
        lambda name, family: any(word in name.lower() for word in ("norm", ".ln_")),
    ),
}


def cases() -> list[tuple[str, str]]:
    return [
        (name, family)
        for name in CASES
        for family in tiny.FAMILIES
        if name != "bitfit" or family in ("bert", "gpt2", "opt", "deberta")
    ]


def their_gradients(
    bone: Backbone, chooses: Chooses, family: str, inputs: dict[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, loss and gradients of plain transformers; the head is always trained."""
    model = copy.deepcopy(bone.model)
    heads = tuple(site.name for site in bone.head_sites)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chooses(name, family) or name.startswith(heads))
    logits = model(**inputs).logits
    loss = tiny.loss(logits, inputs["labels"])  # transformers' DeBERTa takes its own in float32
    loss.backward()
    return (
        logits,
        loss,
        {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
    )


@pytest.mark.parametrize(("name", "family"), cases())
def test_equals_transformers(name: str, family: str) -> None:
    method, chooses = CASES[name]
    bone, inputs = tiny.backbone(family), tiny.batch()
    assert method.problems(bone) == []
    hooks = {**tiny.built(method, bone), **tiny.heads(bone)}
    found = tiny.logits(bone, [hooks], inputs)
    loss = tiny.loss(found, inputs["labels"])
    loss.backward()
    logits, their_loss, expected = their_gradients(bone, chooses, family, inputs)

    assert float((found - logits).detach().abs().max()) < EXACT
    assert abs(float(loss.detach() - their_loss.detach())) < EXACT
    ours = {}
    for site, hook in hooks.items():
        for own, parameter in hook.named_parameters():
            if parameter.grad is not None:
                ours[f"{site}.{'bias' if own == 'offset' else own}"] = parameter.grad
    missing = {n for n in expected if n not in ours}
    assert all("embed" in n or "shared" in n for n in missing)  # the other names of tied weights
    assert set(ours) - set(expected) == {
        n for n in ours if n not in expected and ("embed" in n or "shared" in n)
    }
    for key in set(ours) & set(expected):
        assert float((ours[key] - expected[key]).abs().max()) < EXACT, key
    trained = tiny.parameters(hooks)
    assert sum(p.grad is not None for p in trained) == len(expected)

    # negative control: a trained weight that moves is seen
    with torch.no_grad():
        trained[0].add_(0.05 * torch.randn_like(trained[0]))
    moved = tiny.logits(bone, [hooks], inputs)
    assert float((moved - logits).detach().abs().max()) > 1e-7


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_steps_of_full_fine_tuning(family: str) -> None:
    """Three steps of AdamW end at transformers' weights; the frozen backbone has not moved."""
    bone, inputs = tiny.backbone(family), tiny.batch()
    model = copy.deepcopy(bone.model).requires_grad_(True)
    before = copy.deepcopy(bone.model.state_dict())
    hooks = {**tiny.built(Full(), bone), **tiny.heads(bone)}
    ours = torch.optim.AdamW(tiny.parameters(hooks), lr=1e-2, weight_decay=0.0)
    others = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(3):
        tiny.loss(tiny.logits(bone, [hooks], inputs), inputs["labels"]).backward()
        model(**inputs).loss.backward()
        for optimizer in (ours, others):
            optimizer.step()
            optimizer.zero_grad()
    difference = tiny.logits(bone, [hooks], inputs) - model(**inputs).logits
    assert float(difference.detach().abs().max()) < 1e-9
    assert all(torch.equal(before[n], v) for n, v in bone.model.state_dict().items())
    change = tiny.logits(bone, [hooks], inputs) - tiny.logits(bone, [{}], inputs)
    assert float(change.detach().abs().max()) > 1e-2


def test_tied_weights_are_one_parameter() -> None:
    """A language model's embedding and output layer: one parameter in `full`, apart in
    `last_layer`, frozen in `top_blocks`."""
    bone, inputs = tiny.backbone("gpt2", head="causal_lm"), tiny.batch()
    assert bone.model.lm_head.weight is bone.model.transformer.wte.weight
    hooks = tiny.built(Full(), bone)
    assert hooks["lm_head"].get_parameter("weight") is hooks["transformer.wte"].get_parameter(
        "weight"
    )
    model = copy.deepcopy(bone.model).requires_grad_(True)
    model(input_ids=inputs["input_ids"]).logits.square().mean().backward()
    tiny.logits(bone, [hooks], inputs).square().mean().backward()
    ours = hooks["lm_head"].get_parameter("weight").grad
    assert ours is not None
    assert float((ours - model.lm_head.weight.grad).abs().max()) < EXACT

    head = tiny.built(LastLayer(), bone)
    assert set(head) == {"lm_head"}
    with torch.no_grad():
        head["lm_head"].get_parameter("weight").mul_(2.0)
    doubled = tiny.logits(bone, [head], inputs) / tiny.logits(bone, [{}], inputs)
    assert float((doubled - 2).detach().abs().max()) < EXACT
    assert not {"lm_head", "transformer.wte"} & set(TopBlocks(k=2).build(bone, torch.Generator()))


def test_norms_and_biases_do_not_decay() -> None:
    bone = tiny.backbone("bert")
    hooks = tiny.built(Full(), bone)
    assert not hooks["bert.embeddings.LayerNorm"].decays("weight")
    assert not hooks["bert.pooler.dense"].decays("bias")
    assert hooks["bert.pooler.dense"].decays("weight")
