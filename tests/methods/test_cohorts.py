"""Members of one cohort, with any methods, ranks and rows, get what they get alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.methods import tiny
from tuneoff.backbones.attach import attach, intercepted
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.sites import Hook
from tuneoff.methods import Method
from tuneoff.methods.adapter import Adapter
from tuneoff.methods.bitfit import BitFit
from tuneoff.methods.dora import DoRA
from tuneoff.methods.full import Full
from tuneoff.methods.ia3 import IA3
from tuneoff.methods.layernorm import LayerNorm
from tuneoff.methods.lora import LoRA
from tuneoff.methods.top_blocks import TopBlocks
from tuneoff.training.streams import Stream

EXACT = 1e-12
COHORTS: dict[str, list[Method]] = {
    "ranks": [LoRA(rank=2), LoRA(rank=8, lora_alpha=3), LoRA(rank=5, use_rslora=True)],
    "targets": [
        LoRA(rank=2),
        LoRA(rank=4, target_modules="all-linear"),
        LoRA(rank=4, target_modules=r".*\.1\..*"),
    ],
    "scales": [IA3(), IA3(), IA3(target_modules=("ffn_down",))],
    "biases": [BitFit(), BitFit()],
    "everything": [
        Full(),
        LoRA(),
        IA3(),
        BitFit(),
        Adapter(),
        DoRA(),
        LayerNorm(),
        TopBlocks(k=1),
        LoRA(lora_dropout=0.3),
        Adapter(style="pfeiffer", activation="gelu"),
    ],
}


def run(
    bone: Backbone,
    members: list[dict[str, Hook]],
    inputs: dict[str, Tensor],
    bounds: list[tuple[int, int]],
) -> Tensor:
    """Summed losses, backward; -> logits."""
    attach(bone, members)
    with intercepted(bone, bounds):
        out: Tensor = bone.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits
    sum(tiny.loss(out[a:b], inputs["labels"][a:b]) for a, b in bounds).backward()  # type: ignore[union-attr]
    return out.detach()


def members(bone: Backbone, methods: list[Method]) -> list[dict[str, Hook]]:
    made = []
    for seed, method in enumerate(methods):
        hooks = tiny.built(method, bone, seed=seed, noise=0.2)
        stream = Stream(seed)
        for hook in hooks.values():
            hook.train().stream = stream
        made.append({**hooks, **tiny.heads(bone)})
    return made


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("name", COHORTS)
@pytest.mark.parametrize("even", [True, False])
def test_a_member_equals_its_solo_run(name: str, family: str, even: bool) -> None:
    methods = COHORTS[name]
    bone = tiny.backbone(family)
    sizes = [3] * len(methods) if even else [2 + k % 3 for k in range(len(methods))]
    ends = torch.tensor(sizes).cumsum(0).tolist()
    bounds = [(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    inputs = tiny.batch(rows=ends[-1])

    together = members(bone, methods)
    found = run(bone, together, inputs, bounds)
    alone = members(bone, methods)
    for (start, end), hooks, others in zip(bounds, alone, together, strict=True):
        part = {key: value[start:end] for key, value in inputs.items()}
        logits = run(bone, [hooks], part, [(0, end - start)])
        assert float((logits - found[start:end]).abs().max()) < EXACT
        for site, hook in hooks.items():
            for key, parameter in hook.named_parameters():
                other = others[site].get_parameter(key).grad
                assert (parameter.grad is None) == (other is None)
                if other is not None and parameter.grad is not None:
                    assert float((parameter.grad - other).abs().max()) < EXACT, (site, key)

    # negative control: rows that are another member's would be seen
    hooks = members(bone, methods)[0]
    start, end = bounds[1]
    part = {key: value[start:end] for key, value in inputs.items()}
    logits = run(bone, [hooks], part, [(0, end - start)])
    assert float((logits - found[start:end]).abs().max()) > 1e-6


def test_a_member_that_leaves_changes_nothing() -> None:
    bone = tiny.backbone("bert")
    inputs = tiny.batch(rows=6)
    three = members(bone, COHORTS["ranks"])
    found = run(bone, three, inputs, [(0, 2), (2, 4), (4, 6)])
    rest = {key: torch.cat([value[:2], value[4:]]) for key, value in inputs.items()}
    left = run(bone, [three[0], three[2]], rest, [(0, 2), (2, 4)])
    assert float((left - torch.cat([found[:2], found[4:]])).abs().max()) < EXACT


def test_solo_without_hooks_is_the_frozen_model() -> None:
    bone, inputs = tiny.backbone("gpt2"), tiny.batch()
    with torch.no_grad():
        plain = bone.model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits
        assert torch.equal(tiny.logits(bone, [{}], inputs), plain)
