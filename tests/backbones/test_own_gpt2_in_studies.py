"""`implementation: own`: every method, form and head on our GPT-2 as on transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.backbones import tiny
from tests.backbones.test_families import features, language_features, own_everything
from tests.winner import test_forms
from tests.winner import trained as winners
from tuneoff import registry
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, inspect, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Wrapped
from tuneoff.backbones.sites import Own
from tuneoff.errors import BackboneError, StudyError
from tuneoff.fit import check_fit
from tuneoff.methods import Method
from tuneoff.runs import expand
from tuneoff.study import Study
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.winner.forms import form_of, write_form
from tuneoff.winner.merge import save_merged
from tuneoff.winner.scorer import Scorer

CPU = torch.device("cpu")
CLASSES = ["a", "b", "c"]
METHODS = {name: {} for name in registry.names("methods") if name != "peft"} | {
    "lora rank 4": {"rank": 4},
    "lora rank 16": {"rank": 16},
    "lora keys and values": {"target_modules": "qkv", "fused_parts": ["key", "value"]},
    "lora attention and feed-forward": {
        "target_modules": ["qkv", "attention_output", "ffn_up", "ffn_down"]
    },
}


def both(
    folder: Path, head: str = "sequence_classification", quantization: str = "none"
) -> tuple[Backbone, Backbone]:
    """transformers' and ours from one folder, in float64 where nothing is quantized."""
    saved = str(tiny.save("gpt2", folder, head))
    made = []
    for implementation in ("transformers", "own"):
        options = BackboneOptions(saved, implementation=implementation, quantization=quantization)
        backbone = load(options, head, CLASSES)  # type: ignore[arg-type]
        if quantization == "none":
            backbone.model.double()
        made.append(backbone)
    return made[0], made[1]


def method(name: str) -> Method:
    made: Method = registry.get("methods", name.split()[0])(**METHODS[name])
    return made


def hooks_of(name: str, backbone: Backbone) -> dict[str, Any]:
    """Hooks away from their start, and a trained head."""
    generator = torch.Generator().manual_seed(0)
    hooks = method(name).build(backbone, generator)
    hooks |= {site.name: Own(site) for site in backbone.head_sites}
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for hook in hooks.values():
            for parameter in hook.parameters():
                noise = torch.randn(parameter.shape, generator=drawn, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype), alpha=0.1)
    return hooks


def one_step(backbone: Backbone, hooks: dict[str, Any], data: Features) -> tuple[Any, Any]:
    """Logits and gradients of the padding-free forward."""
    family = family_of(backbone)
    assert family is not None
    attach(backbone, [hooks])
    layout = layouts.build(data, [np.arange(len(data.lengths))], family.reads, CPU)
    logits = family.forward(layout)
    logits.square().sum().backward()
    gradients = {
        f"{site}.{name}": p.grad
        for site, hook in hooks.items()
        for name, p in hook.named_parameters()
    }
    return logits.detach(), gradients


def test_sites_are_the_same(tmp_path: Path) -> None:
    for head in ("sequence_classification", "causal_lm", "question_answering"):
        theirs, ours = both(tmp_path / head, head)
        facts = [
            [
                (s.name, s.kind, s.role, s.block, s.is_head, s.in_features, s.out_features)
                for s in backbone.sites.values()
            ]
            for backbone in (theirs, ours)
        ]
        assert facts[0] == facts[1]
        assert theirs.total_parameters == ours.total_parameters
        assert (theirs.kind, theirs.blocks) == (ours.kind, ours.blocks) == ("decoder", 3)
        assert isinstance(family_of(ours), type(family_of(theirs)))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_attaches_as_to_transformers(name: str, tmp_path: Path) -> None:
    quantization = method(name).quantization or "none"
    theirs, ours = both(tmp_path, quantization=quantization)
    shape = inspect(ours.options, "sequence_classification", 3)
    assert method(name).problems(shape) == []
    expected, gradients = one_step(theirs, hooks_of(name, theirs), features())
    hooks = hooks_of(name, ours)
    logits, own = one_step(ours, hooks, features())
    assert own.keys() == gradients.keys()
    assert torch.equal(logits, expected)
    for key, gradient in gradients.items():
        assert gradient is None or torch.equal(own[key], gradient), key
    with torch.no_grad():  # negative control: the hooks are heard
        first = next(p for p in next(iter(hooks.values())).parameters())
        first.add_(torch.randn(first.shape, generator=torch.Generator().manual_seed(9)))
    assert not torch.allclose(one_step(ours, hooks, features())[0], expected, atol=1e-6)


@pytest.mark.parametrize("head", ["causal_lm", "question_answering"])
def test_the_family_equals_the_model_s_own_forward(head: str, tmp_path: Path) -> None:
    """The two ways to compute our GPT-2 agree, and with transformers' model."""
    theirs, ours = both(tmp_path, head)
    data = language_features() if head == "causal_lm" else features()
    rows = np.arange(len(data.lengths))
    if head == "question_answering":
        data = Features(data.tokens, data.offsets, np.zeros((len(rows), 2), np.int64), form="span")
    family = family_of(ours)
    assert family is not None
    layout = layouts.build(data, [rows], family.reads, CPU)
    got = family.forward(layout)
    from tuneoff.backbones.padded import pad

    ids, mask, _ = pad(layout, 0)
    for model in (theirs.model, ours.model):
        out = model(input_ids=ids, attention_mask=mask)
        if head == "causal_lm":
            plain = out.logits[mask.bool()][layout.rows]
        else:
            plain = torch.stack([out.start_logits, out.end_logits], -1)[mask.bool()]
        assert torch.allclose(got, plain, atol=1e-12, rtol=0)
    attach(ours, [own_everything(ours)])
    with torch.no_grad():
        ours.sites["transformer.ln_f"].hooks[0].bias.add_(0.1)  # type: ignore[union-attr,operator]
    assert not torch.allclose(family.forward(layout), got, atol=1e-6)


@pytest.mark.parametrize("quantization", ["nf4", "fp4", "int8"])
def test_quantized_weights_are_those_of_transformers(quantization: str, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, quantization=quantization)
    count = 0
    for name, site in theirs.sites.items():
        assert site.quantized == ours.sites[name].quantized, name
        if site.quantized:
            assert torch.equal(site.weight(), ours.sites[name].weight())
            count += 1
    assert count == 12
    ids = torch.randint(4, 100, (3, 9))
    assert torch.allclose(ours.model(ids).logits, theirs.model(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "LORA", "r": 4, "target_modules": ["c_attn"]},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4},
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4},
        {"peft_type": "IA3", "target_modules": ["c_attn"], "feedforward_modules": []},
    ],
    ids=lambda s: s["peft_type"],
)
@pytest.mark.parametrize("head", ["causal_lm", "sequence_classification"])
def test_peft_s_own_methods(head: str, settings: dict[str, Any], tmp_path: Path) -> None:
    made: Method = registry.get("methods", "peft")(**settings)
    data = language_features() if head == "causal_lm" else features()
    outs = []
    for backbone in both(tmp_path, head):
        assert made.problems(inspect(backbone.options, head, 3)) == []  # type: ignore[arg-type]
        wrapped: Any = made.wrap(backbone, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
        model = Wrapped(backbone, wrapped.double())
        drawn = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for p in wrapped.parameters():
                if p.requires_grad:
                    p.add_(0.1 * torch.randn(p.shape, generator=drawn, dtype=p.dtype))
        layout = layouts.build(data, [np.array([5])], model.reads, CPU)
        logits = model.forward(layout)
        logits.square().sum().backward()
        grads = [p.grad for p in wrapped.parameters() if p.requires_grad and p.grad is not None]
        outs.append((logits.detach(), grads))
    assert torch.allclose(outs[0][0], outs[1][0], atol=1e-10, rtol=0)
    assert len(outs[0][1]) == len(outs[1][1]) > 0
    for one, two in zip(outs[0][1], outs[1][1], strict=True):
        assert torch.allclose(one, two, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["full", "lora", "lora keys and values"])
def test_winners_are_saved_for_transformers_and_peft(name: str, tmp_path: Path) -> None:
    """Our model's adapter and merged model, loaded by the others, give our probabilities."""
    _, ours = both(tmp_path / "gpt2")
    chosen, data = method(name), winners.features()
    scorer = Scorer(ours, hooks_of(name, ours))
    expected = scorer.probabilities(data)
    form = form_of(ours, chosen, scorer.hooks)
    assert form == ("model" if name == "full" else "peft")
    write_form(form, tmp_path / "winner", scorer, chosen)
    if form == "peft":
        found = test_forms.through_peft(ours, tmp_path / "winner", data)
        np.testing.assert_allclose(found, expected, atol=1e-10, rtol=0)
    save_merged(ours, scorer.hooks, tmp_path / "merged")
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "merged", dtype="auto"
    )
    ids = test_forms.id_lists(data)
    found = test_forms.plain_probabilities(merged.eval(), ids, None, 4, ours.config.pad_token_id)
    np.testing.assert_allclose(found, expected, atol=1e-10, rtol=0)
    bare = Scorer(ours, {"score": scorer.hooks["score"]})  # negative control: no hooks inside
    assert np.abs(bare.probabilities(data) - expected).max() > 1e-4


def study(model: str, method: Any = "lora", **backbone: Any) -> Study:
    return Study(
        backbones=[{"name": "b", "model": model, **backbone}],
        tasks=["synthetic"],
        methods=[method],
        seeds=[0],
        device="cpu",
    )


def test_the_word_in_a_study(tmp_path: Path) -> None:
    gpt2 = str(tiny.save("gpt2", tmp_path / "gpt2"))
    plain, said, own = (
        study(gpt2, **settings)
        for settings in ({}, {"implementation": "transformers"}, {"implementation": "own"})
    )
    check_fit(own)
    ids = [expand(one)[0].run_id for one in (plain, said, own)]
    assert ids[0] == ids[1]  # saying what is so anyway changes nothing
    assert ids[2] != ids[0]
    assert own.written()["backbones"][0]["implementation"] == "own"
    assert "implementation" not in said.written()["backbones"][0]
    assert Study(**own.written()) == own


def test_own_is_gpt2_s_alone(tmp_path: Path) -> None:
    bert = str(tiny.save("bert", tmp_path / "bert"))
    with pytest.raises(StudyError) as fault:
        check_fit(study(bert, implementation="own"))
    (problem,) = fault.value.problems
    assert problem.path == "backbones[0].implementation"
    assert "gpt2 alone" in problem.message
    assert "'bert'" in problem.message
    gpt2 = BackboneOptions(str(tiny.save("gpt2", tmp_path / "gpt2")), implementation="own")
    with pytest.raises(BackboneError, match="no seq2seq lm form"):
        inspect(gpt2, "seq2seq_lm")


def test_what_writes_through_transformers_wants_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewritten model generates by transformers' own `generate`; said before anything runs."""
    gpt2 = str(tiny.save("gpt2", tmp_path / "gpt2"))
    lora = {"peft": {"peft_type": "LORA", "target_modules": ["c_attn"]}}
    check_fit(study(gpt2, lora, implementation="own"))
    kind = type(study(gpt2).tasks[0].settings)
    monkeypatch.setattr(kind, "generation_for", lambda self, head: object())
    check_fit(study(gpt2, lora))
    check_fit(study(gpt2, "lora", implementation="own"))
    with pytest.raises(StudyError, match="set implementation of backbone b to transformers"):
        check_fit(study(gpt2, lora, implementation="own"))
