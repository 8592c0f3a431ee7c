"""What holds for every method that the registry finds, ours or a plug-in's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.methods import tiny
from tuneoff import registry
from tuneoff.backbones.backbone import Backbone, BackboneOptions, inspect
from tuneoff.backbones.sites import Hook
from tuneoff.methods import Method

NAMES = registry.names("methods")
TOGETHER = [name for name in NAMES if not registry.get("methods", name).alone]
CAUSES = {
    ("bitfit", "t5"): "biases",
    ("bitfit", "llama"): "biases",
    ("peft", "gpt2"): "Conv1D",  # LoHa takes no such layer
}


def method(name: str) -> Method:
    """The method at its defaults; `peft` has none."""
    kind: type[Method] = registry.get("methods", name)
    return kind(peft_type="LOHA") if name == "peft" else kind()  # type: ignore[call-arg]


def fitted(name: str, family: str, noise: float = 0.0) -> tuple[Backbone, dict[str, Hook]]:
    """The backbone and hooks, or a skip where the method says why it does not fit."""
    bone = tiny.backbone(family)
    problems = method(name).problems(bone)
    if problems:
        assert CAUSES[(name, family)] in problems[0]
        pytest.skip(problems[0])
    assert (name, family) not in CAUSES
    return bone, tiny.built(method(name), bone, noise=noise)


def test_the_issue_s_methods_are_there() -> None:
    assert {
        "full",
        "last_layer",
        "top_blocks",
        "bitfit",
        "layernorm",
        "lora",
        "qlora",
        "dora",
        "ia3",
        "adapter",
        "peft",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_settings_and_rates(name: str) -> None:
    made = method(name)
    assert type(made).model_validate(json.loads(made.model_dump_json())) == made
    assert type(made).__doc__
    assert all(field.description for field in type(made).model_fields.values())
    for kind in ("encoder", "decoder", "encoder_decoder"):
        default, grid = made.own_rates(kind)
        assert default in grid
        assert len(grid) >= 3
        assert list(grid) == sorted(set(grid))
        assert all(0 < rate < 1 for rate in grid)
    if not made.alone:  # those that hand keys on to a library know them only then
        with pytest.raises(ValueError, match="ranc"):
            type(made).model_validate({"ranc": 8})


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_problems_on_a_weightless_backbone(name: str, family: str, tmp_path: Path) -> None:
    """`problems` needs no weights, and says the same as on the real model."""
    shape = inspect(BackboneOptions(tiny.saved(tmp_path, family)), classes=3)
    assert shape.device.type == "meta"
    problems = method(name).problems(shape)
    assert bool(problems) == ((name, family) in CAUSES)
    if name in TOGETHER and not problems:
        hooks = method(name).build(shape, torch.Generator())
        real = method(name).build(tiny.backbone(family), torch.Generator())
        count = sum(p.numel() for p in tiny.parameters(hooks))
        assert count == sum(p.numel() for p in tiny.parameters(real))


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", TOGETHER)
def test_starts_at_the_frozen_model_and_learns(name: str, family: str) -> None:
    bone, hooks = fitted(name, family)
    inputs = tiny.batch()
    frozen = tiny.logits(bone, [{}], inputs)
    members = {**hooks, **tiny.heads(bone)}
    start = tiny.logits(bone, [members], inputs).detach()
    limit = 5e-3 if name == "adapter" else 1e-12
    assert float((start - frozen).abs().max()) <= limit * float(frozen.abs().max())

    parameters = tiny.parameters(members)
    tiny.loss(tiny.logits(bone, [members], inputs), inputs["labels"]).backward()
    gradients = [p.grad for p in parameters if p.grad is not None and bool(p.grad.any())]
    assert gradients
    torch.optim.SGD(parameters, lr=0.1).step()
    after = tiny.logits(bone, [members], inputs).detach()
    assert float((after - start).abs().max()) > 1e-6
    assert torch.equal(tiny.logits(bone, [{}], inputs), frozen)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", TOGETHER)
def test_every_hook_learns(name: str, family: str) -> None:
    """Away from the start every parameter has a gradient; none is passed by."""
    bone, hooks = fitted(name, family, noise=0.3)
    members = {**hooks, **tiny.heads(bone)}
    tiny.logits(bone, [members], tiny.batch()).square().sum().backward()
    idle = [
        f"{site}.{n}"
        for site, hook in hooks.items()
        for n, p in hook.named_parameters()
        if p.grad is None
    ]
    assert idle == []


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("name", TOGETHER)
def test_folding_gives_the_same_logits(name: str, family: str) -> None:
    bone, hooks = fitted(name, family, noise=0.2)
    inputs = tiny.batch()
    hooked = tiny.logits(bone, [hooks], inputs).detach()
    plain = tiny.logits(bone, [{}], inputs)
    tensors: dict[str, dict[str, Tensor]] = {}
    for site, hook in hooks.items():
        folded = hook.merged(bone.sites[site])
        if folded is None:
            assert name == "adapter"
            return
        module = bone.sites[site].module
        own = dict(module.named_parameters(recurse=False))
        assert set(folded) == set(own)
        assert all(folded[key].shape == own[key].shape for key in own)
        tensors[site] = folded
    for site, folded in tensors.items():
        for key, value in folded.items():
            setattr(bone.sites[site].module, key, torch.nn.Parameter(value, requires_grad=False))
    merged = tiny.logits(bone, [{}], inputs)
    assert float((merged - hooked).abs().max()) < 1e-10
    if hooks:
        assert float((merged - plain).abs().max()) > 1e-6


@pytest.mark.parametrize("name", TOGETHER)
def test_built_from_the_generator_alone(name: str) -> None:
    bone = tiny.backbone("bert")
    torch.manual_seed(1)
    one = tiny.built(method(name), bone)
    torch.manual_seed(2)
    two = tiny.built(method(name), bone)
    assert one.keys() == two.keys()
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.parameters(one), tiny.parameters(two), strict=True)
    )


def test_settings_load_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from tuneoff import registry\n"
        f"for name in {TOGETHER!r}: registry.get('methods', name)()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_guide_s_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method of docs/add-a-method.md starts as nothing, and minds its own rows in a cohort."""
    text = (Path(__file__).parents[2] / "docs/add-a-method.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/gates.py").write_text(code)
    monkeypatch.setenv("TUNEOFF_PLUGINS", str(tmp_path))
    assert "gates" in registry.names("methods")
    made: Method = registry.get("methods", "gates")()
    bone, inputs = tiny.backbone("bert"), tiny.batch()
    start = tiny.built(made, bone)
    assert (
        float(
            (tiny.logits(bone, [start], inputs) - tiny.logits(bone, [{}], inputs))
            .detach()
            .abs()
            .max()
        )
        < 1e-12
    )
    hooks = tiny.built(made, bone, noise=0.2)
    both = tiny.logits(bone, [hooks, tiny.built(method("lora"), bone)], inputs)
    part = {key: value[:2] for key, value in inputs.items()}
    assert float((both[:2] - tiny.logits(bone, [hooks], part)).detach().abs().max()) < 1e-12
    assert float((both - tiny.logits(bone, [{}], inputs)).detach()[:2].abs().max()) > 1e-6
