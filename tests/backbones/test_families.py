"""The padding-free forwards give transformers' own logits and gradients."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.backbones import tiny
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded, pad
from tuneoff.backbones.sites import Own
from tuneoff.errors import BackboneError
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features

LENGTHS = [7, 1, 12, 3, 12, 20, 9]


def features(eos: bool = False) -> Features:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(4, 100, offsets[-1]).astype(np.int32)
    if eos:
        tokens[offsets[1:] - 1] = 1
    return Features(tokens, offsets, rng.integers(0, 3, len(LENGTHS)))


def language_features() -> Features:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(4, 100, offsets[-1]).astype(np.int32)
    targets = np.roll(tokens, -1).astype(np.int64)
    targets[offsets[1:] - 1] = -100
    targets[rng.random(len(targets)) < 0.5] = -100
    return Features(tokens, offsets, targets, form="token")


def loaded(architecture: str, tmp_path, head="sequence_classification") -> Backbone:
    folder = tiny.save(architecture, tmp_path / architecture, head)
    backbone = load(BackboneOptions(str(folder)), head, ["a", "b", "c"])  # type: ignore[arg-type]
    backbone.model.double()
    return backbone


def own_everything(backbone: Backbone) -> dict:
    shared: dict = {}
    return {name: Own(site, shared) for name, site in backbone.sites.items()}


def reference(backbone: Backbone, data: Features, order: np.ndarray):
    """Loss and gradients of the plain Hugging Face model on a padded batch."""
    sub = layouts.build(data, [order], "first", torch.device("cpu"))
    ids, mask, _ = pad(sub, backbone.config.pad_token_id)
    model = backbone.model
    model.requires_grad_(True)
    logits = model(input_ids=ids, attention_mask=mask).logits
    if backbone.head == "causal_lm":
        flat = torch.from_numpy(
            np.concatenate([data.targets[data.offsets[i] : data.offsets[i + 1]] for i in sub.order])
        )
        logits = logits[mask.bool()][flat != -100]
        targets = flat[flat != -100]
    else:
        targets = torch.from_numpy(data.targets[sub.order])
    loss = torch.nn.functional.cross_entropy(logits, targets)
    return logits.detach(), loss.detach(), tiny.gradients_of(loss, model)


CASES = [
    (a, "sequence_classification")
    for a in (
        "bert",
        "roberta",
        "distilbert",
        "gpt2",
        "gpt_neo",
        "llama",
        "t5",
        "mt5",
        "umt5",
        "t5_gated",
    )
] + [(a, "causal_lm") for a in ("gpt2", "gpt_neo", "llama")]
WITHOUT_A_FAMILY = (
    "opt",
    "electra",
    "deberta",
    "albert",
    "xlnet",
    "gemma",
    "falcon",
    "bloom",
    "mpt",
)


@pytest.mark.parametrize(
    ("architecture", "head", "path"),
    [(*case, path) for case in CASES for path in ("family", "padded")]
    + [(a, "sequence_classification", "padded") for a in WITHOUT_A_FAMILY]
    + [(a, "causal_lm", "padded") for a in ("opt", "gemma")],
)
def test_logits_and_gradients_equal_transformers(architecture, head, path, tmp_path):
    backbone = loaded(architecture, tmp_path, head)
    data = language_features() if head == "causal_lm" else features(eos="t5" in architecture)
    family = family_of(backbone)
    if path == "padded":
        family = Padded(backbone)
    order = np.arange(len(LENGTHS))
    expected, expected_loss, gradients = reference(backbone, data, order)
    hooks = own_everything(backbone)
    total = sum(parameter.numel() for parameter in backbone.model.parameters())
    assert (
        sum(p.numel() for p in {p for hook in hooks.values() for p in hook.parameters()}) == total
    )
    attach(backbone, [hooks])
    batch = layouts.build(data, [order], family.reads, torch.device("cpu"))
    logits = family.forward(batch)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets)
    # transformers' GPT-Neo computes its scores in float32 whatever the model's dtype
    close = 1e-6 if architecture == "gpt_neo" else 1e-12
    assert torch.allclose(logits, expected, atol=close, rtol=0)
    assert abs(float(loss.detach() - expected_loss)) < close
    loss.backward()
    checked, left = 0, set(gradients)
    for name, hook in hooks.items():
        for part, parameter in hook.named_parameters():
            other = gradients.get(f"{name}.{part}")
            left.discard(f"{name}.{part}")
            if other is None and parameter.grad is None:
                continue
            if other is None:  # a tied copy: transformers lists it under its first name
                continue
            # a last block's keys need no bias: it adds the same to all scores of the one query
            ours = torch.zeros_like(other) if parameter.grad is None else parameter.grad
            assert torch.allclose(ours, other, atol=close, rtol=0), f"{name}.{part}"
            checked += int(other.abs().max() > 1e-9)
    assert checked > 20
    assert not left, "transformers trains more than we do"
    with torch.no_grad():  # negative control: another weight, another answer
        parameters = [p for h in hooks.values() for p in h.parameters() if p.grad is not None]
        moved = next(p for p in parameters if p.grad.abs().max() > 1e-6)
        moved.sub_(0.1 * moved.grad / moved.grad.norm())
    assert not torch.allclose(family.forward(batch), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "architecture", ["bert", "roberta", "distilbert", "gpt2", "gpt_neo", "llama", "t5"]
)
def test_a_member_does_not_notice_its_cohort(architecture, tmp_path):
    backbone = loaded(architecture, tmp_path)
    data, family = features(eos="t5" in architecture), family_of(backbone)
    assert family is not None
    members = [own_everything(backbone) for _ in range(3)]
    with torch.no_grad():
        for shift, hooks in enumerate(members):
            for hook in hooks.values():
                for parameter in hook.parameters():
                    parameter.mul_(1 + 0.01 * shift)
    batches = [np.array([0, 1, 2]), np.array([5, 3]), np.array([6, 4, 1, 0])]
    solo = []
    for hooks, rows in zip(members, batches, strict=True):
        attach(backbone, [hooks])
        solo.append(family.forward(layouts.build(data, [rows], family.reads, torch.device("cpu"))))
    attach(backbone, [members[0], {}, members[2]])  # the middle member hooks nothing
    together = layouts.build(data, batches, family.reads, torch.device("cpu"))
    logits = family.forward(together)
    for member in (0, 2):
        start, end = together.row_bounds[member]
        assert torch.allclose(logits[start:end], solo[member], atol=1e-13, rtol=0)
    start, end = together.row_bounds[1]
    assert not torch.allclose(logits[start:end], solo[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("entry", [1, 3, 4])
def test_a_cached_prefix_changes_nothing(architecture, entry, tmp_path):
    backbone = loaded(architecture, tmp_path)
    data, family = features(), family_of(backbone)
    assert family is not None
    attach(backbone, [{}])
    batch = layouts.build(data, [np.arange(5)], family.reads, torch.device("cpu"))
    cached = family.advance(None, batch, 0, entry)
    assert torch.allclose(family.forward(batch, cached, entry), family.forward(batch), atol=1e-13)


def test_what_the_body_itself_holds_is_no_head(tmp_path):
    """XLNet keeps the state of masked tokens beside its blocks."""
    backbone = loaded("xlnet", tmp_path)
    assert backbone.sites["transformer"].block == -1
    assert [s.name for s in backbone.head_sites] == ["sequence_summary.summary", "logits_proj"]


def test_a_saved_head_for_other_classes_is_drawn_anew(tmp_path):
    folder = tiny.save("bert", tmp_path / "bert", classes=7)
    backbone = load(BackboneOptions(str(folder)), classes=["a", "b", "c"])
    assert backbone.model.classifier.weight.shape == (3, 64)
    assert [site.name for site in backbone.head_sites] == ["classifier"]


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path):
    folder = tiny.save("bert", tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(BackboneError, match="do not fit config"):
        load(BackboneOptions(str(folder)), classes=["a", "b", "c"])
