"""Span heads: logits, loss and gradients are those of transformers' own question answerers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.backbones import tiny
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.backbones.sites import Own
from tuneoff.tasks.question_answering import QuestionAnswering
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features

ARCHITECTURES = ("bert", "roberta", "distilbert", "gpt2", "gpt_neo", "llama", "t5", "t5_gated")
LENGTHS = [7, 2, 12, 3, 12, 20, 9]
CPU = torch.device("cpu")
TASK = QuestionAnswering()


def features() -> Features:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(4, 100, offsets[-1]).astype(np.int32)
    ends = np.sort(rng.integers(0, np.array(LENGTHS)[:, None], (len(LENGTHS), 2)), 1)
    return Features(tokens, offsets, ends, form="span")


def loaded(architecture: str, tmp_path) -> Backbone:
    head = "question_answering"
    folder = tiny.save(architecture, tmp_path / architecture, head, classes=2)
    backbone = load(BackboneOptions(str(folder)), head)
    backbone.model.double()
    return backbone


def reference(model, data: Features, order: np.ndarray):
    """Logits, losses and gradients of the plain Hugging Face model, sequence by sequence."""
    logits, losses = [], []
    model.requires_grad_(True)
    for row in order:
        ids = torch.from_numpy(data.tokens[data.offsets[row] : data.offsets[row + 1]]).long()
        first, last = torch.from_numpy(data.targets[row])
        out = model(input_ids=ids[None], start_positions=first[None], end_positions=last[None])
        logits.append(torch.stack([out.start_logits[0], out.end_logits[0]], -1).detach())
        losses.append(out.loss)
    torch.stack(losses).mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.requires_grad_(False)
    model.zero_grad()
    return torch.cat(logits), torch.stack(losses).detach(), gradients


@pytest.mark.parametrize("path", ["family", "padded"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_losses_and_gradients_equal_transformers(architecture, path, tmp_path):
    backbone, data = loaded(architecture, tmp_path), features()
    family = family_of(backbone) if path == "family" else Padded(backbone)
    hooks = {name: Own(site, shared) for shared in [{}] for name, site in backbone.sites.items()}
    attach(backbone, [hooks])
    batch = layouts.build(data, [np.arange(len(LENGTHS))], family.reads, CPU)
    expected, expected_losses, gradients = reference(backbone.model, data, batch.order)
    logits = family.forward(batch)
    losses = TASK.losses(logits, batch)
    # transformers' GPT-Neo computes its scores in float32 whatever the model's dtype
    close = 1e-6 if architecture == "gpt_neo" else 1e-12
    assert torch.allclose(logits, expected, atol=close, rtol=0)
    assert torch.allclose(losses, expected_losses, atol=close, rtol=0)
    losses.mean().backward()
    checked = 0
    for name, hook in hooks.items():
        for part, parameter in hook.named_parameters():
            other = gradients.get(f"{name}.{part}")
            if other is None:  # unused, or a tied copy that transformers lists once
                continue
            assert torch.allclose(parameter.grad, other, atol=close, rtol=0), f"{name}.{part}"
            checked += int(other.abs().max() > 1e-9)
    assert checked > 20
    with torch.no_grad():  # negative controls: another head, the ends the other way round
        hooks["qa_outputs"].weight.mul_(1.5)
    assert not torch.allclose(family.forward(batch), expected, atol=1e-6, rtol=0)
    assert not torch.allclose(TASK.losses(logits.flip(1), batch), expected_losses, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "llama", "t5"])
def test_members_of_a_cohort_keep_their_own_spans(architecture, tmp_path):
    backbone, data = loaded(architecture, tmp_path), features()
    family = family_of(backbone)
    batches = [np.array([0, 1, 2]), np.array([5, 3])]
    attach(backbone, [{}, {}])
    together = layouts.build(data, batches, family.reads, CPU)
    losses = TASK.losses(family.forward(together), together)
    for rows, (start, end) in zip(batches, together.loss_bounds, strict=True):
        attach(backbone, [{}])
        alone = layouts.build(data, [rows], family.reads, CPU)
        expected = TASK.losses(family.forward(alone), alone)
        assert torch.allclose(losses[start:end], expected, atol=1e-12, rtol=0)


def test_padding_takes_no_part_in_the_loss(tmp_path):
    """transformers pads a batch and lets the padding be an answer; the loss here does not."""
    backbone, data = loaded("bert", tmp_path), features()
    attach(backbone, [{}])
    batch = layouts.build(data, [np.arange(len(LENGTHS))], "tokens", CPU)
    losses = TASK.losses(Padded(backbone).forward(batch), batch)
    alone = torch.cat(
        [
            TASK.losses(Padded(backbone).forward(one), one)
            for row in batch.order
            for one in [layouts.build(data, [np.array([row])], "tokens", CPU)]
        ]
    )
    assert torch.allclose(losses, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_the_body_of_another_head_is_taken_over(architecture, tmp_path):
    """A checkpoint saved as a language model or classifier: only the span head is new."""
    head = "sequence_classification" if architecture == "bert" else "causal_lm"
    folder = tiny.save(architecture, tmp_path / architecture, head)
    before = load(BackboneOptions(str(folder)), head, ["a", "b", "c"])
    backbone = load(BackboneOptions(str(folder)), "question_answering")
    assert [site.name for site in backbone.head_sites] == ["qa_outputs"]
    assert backbone.model.qa_outputs.out_features == 2
    body = backbone.model.get_submodule(backbone.base_prefix).state_dict()
    other = before.model.get_submodule(before.base_prefix).state_dict()
    assert len(body) > 20
    for name, weight in body.items():
        assert torch.equal(weight, other[name]), name
