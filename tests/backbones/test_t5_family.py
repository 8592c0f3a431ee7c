"""T5 without padding speaks, and pools its encoder, as transformers' T5 does one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.backbones import tiny
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.backbones.sites import Own
from tuneoff.errors import BackboneError
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.relative import buckets_of

READ = [7, 1, 12, 3, 12, 40, 9]
SAID = [3, 9, 1, 5, 5, 2, 30]
CPU = torch.device("cpu")


def features() -> Features:
    """Texts and what is to be said of them, of any lengths; some of it unlabelled."""
    rng = np.random.default_rng(0)
    offsets, ends = (np.concatenate([[0], np.cumsum(lengths)]) for lengths in (READ, SAID))
    targets = rng.integers(4, 100, ends[-1])
    targets[rng.random(len(targets)) < 0.2] = -100
    targets[ends[1:] - 1] = 1
    return Features(
        rng.integers(4, 100, offsets[-1]).astype(np.int32),
        offsets,
        targets,
        form="sequence",
        target_offsets=ends,
    )


def loaded(architecture: str, folder, head: str = "seq2seq_lm") -> Backbone:
    place = tiny.save(architecture, folder / architecture, "seq2seq_lm")
    backbone = load(BackboneOptions(str(place)), head, ["a", "b", "c"])  # type: ignore[arg-type]
    with torch.no_grad():  # at its initial scale it would hardly count
        for name, site in backbone.sites.items():
            if "relative" in name:
                site.module.weight.mul_(8)
    backbone.model.double()
    return backbone


def hooked(backbone: Backbone, shift: float = 0.0) -> dict:
    shared: dict = {}
    hooks = {name: Own(site, shared) for name, site in backbone.sites.items()}
    with torch.no_grad():
        for hook in hooks.values():
            for parameter in hook.parameters():
                parameter.mul_(1 + shift)
    return hooks


def reference(backbone: Backbone, data: Features, order: np.ndarray):
    """(R, V) logits, loss and gradients of transformers' model, text by text."""
    model, found = backbone.model, []
    model.requires_grad_(True)
    for row in order:
        ids = torch.from_numpy(data.tokens[data.offsets[row] : data.offsets[row + 1]]).long()
        said = slice(data.target_offsets[row], data.target_offsets[row + 1])
        labels = torch.from_numpy(data.targets[said])
        logits = model(input_ids=ids[None], labels=labels[None]).logits[0]
        found.append((logits[labels != -100], labels[labels != -100]))
    logits, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    loss = torch.nn.functional.cross_entropy(logits, targets)
    return logits.detach(), loss.detach(), tiny.gradients_of(loss, model)


@pytest.mark.parametrize("path", ["family", "padded"])
@pytest.mark.parametrize("architecture", ["t5", "mt5", "umt5", "t5_gated"])
def test_what_it_says_and_gradients_equal_transformers(architecture, path, tmp_path):
    backbone, data = loaded(architecture, tmp_path), features()
    family = family_of(backbone) if path == "family" else Padded(backbone)
    hooks = hooked(backbone)
    attach(backbone, [hooks])
    batch = layouts.build(data, [np.arange(len(READ))], family.reads, CPU)
    expected, expected_loss, gradients = reference(backbone, data, batch.order)
    logits = family.forward(batch)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets)
    assert torch.allclose(logits, expected, atol=1e-12, rtol=0)
    assert abs(float(loss.detach() - expected_loss)) < 1e-12
    loss.backward()
    checked = set()
    for name, hook in hooks.items():
        for part, parameter in hook.named_parameters():
            other = gradients.get(f"{name}.{part}")
            if other is not None:  # else a tied copy, which transformers lists once
                assert torch.allclose(parameter.grad, other, atol=1e-12, rtol=0), name
                checked |= {name} if other.abs().max() > 1e-9 else set()
    assert len(checked) > 35
    assert sum("relative" in name for name in checked) == (4 if architecture == "umt5" else 2)
    for name in ("encoder", "decoder"):  # negative controls: each table of distances counts
        site = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias"
        with torch.no_grad():
            hooks[site].weight[0].add_(0.1)  # the nearest
            assert not torch.allclose(family.forward(batch), expected, atol=1e-6, rtol=0)
            hooks[site].weight[0].sub_(0.1)


def test_frozen_it_takes_the_same_numbers_from_the_fast_kernels(tmp_path):
    """Without gradients to the tables, and with none at all, attention is one fused kernel; with
    gradients there is none for it."""
    backbone, data = loaded("t5", tmp_path), features()
    family = family_of(backbone)
    attach(backbone, [{}])
    batch = layouts.build(data, [np.arange(len(READ))], family.reads, CPU)
    expected, _, _ = reference(backbone, data, batch.order)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # else an error
        assert torch.allclose(family.forward(batch), expected, atol=1e-12, rtol=0)
    query = "encoder.block.0.layer.0.SelfAttention.q"
    trained = {query: Own(backbone.sites[query])}
    attach(backbone, [trained])
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        logits = family.forward(batch)
    assert torch.allclose(logits, expected, atol=1e-12, rtol=0)
    torch.nn.functional.cross_entropy(logits, batch.targets).backward()
    *_, gradients = reference(backbone, data, batch.order)
    own = trained[query].weight.grad
    assert torch.allclose(own, gradients[f"{query}.weight"], atol=1e-12, rtol=0)
    assert own.abs().max() > 1e-4
    attach(backbone, [hooked(backbone)])
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match="kernel"):
        family.forward(batch)


def test_members_say_what_they_say_alone(tmp_path):
    """With tables of distances of their own, and batches of their own."""
    backbone, data = loaded("t5", tmp_path), features()
    family = family_of(backbone)
    members = [hooked(backbone, 0.02 * k) for k in range(3)]
    batches = [np.array([0, 1, 2]), np.array([5, 3]), np.array([6, 4, 1, 0])]
    attach(backbone, members)
    together = layouts.build(data, batches, family.reads, CPU)
    logits = family.forward(together)
    for hooks, rows, (start, end) in zip(members, batches, together.row_bounds, strict=True):
        attach(backbone, [hooks])
        alone = family.forward(layouts.build(data, [rows], family.reads, CPU))
        assert torch.allclose(logits[start:end], alone, atol=1e-12, rtol=0)
        attach(backbone, [{}])
        bare = family.forward(layouts.build(data, [rows], family.reads, CPU))
        assert torch.allclose(bare, alone, atol=1e-6) == (hooks is members[0])


@pytest.mark.parametrize(
    "head", ["seq2seq_lm", "sequence_classification", "encoder_classification"]
)
def test_states_taken_at_any_place_change_nothing(head, tmp_path):
    backbone = loaded("t5", tmp_path, head)
    data, family = features(), family_of(backbone)
    if head != "seq2seq_lm":
        data.tokens[data.offsets[1:] - 1] = 1
        data = Features(data.tokens, data.offsets, np.arange(len(READ)) % 3)
    attach(backbone, [{}])
    batch = layouts.build(data, [np.arange(5)], family.reads, CPU)
    whole = family.forward(batch)
    for entry in range(1, family.blocks + 2):
        taken = family.advance(None, batch, 0, entry)
        assert torch.allclose(family.forward(batch, taken, entry), whole, atol=1e-13, rtol=0)
        wrong = tuple(2 * x for x in taken) if isinstance(taken, tuple) else taken + 1
        assert not torch.allclose(family.forward(batch, wrong, entry), whole, atol=1e-6)


@pytest.mark.parametrize("path", ["family", "padded"])
def test_the_pooled_encoder_is_the_mean_of_transformers_encoder(path, tmp_path):
    backbone, data = loaded("t5_gated", tmp_path, "encoder_classification"), features()
    data = Features(data.tokens, data.offsets, np.arange(len(READ)) % 3)
    family = family_of(backbone) if path == "family" else Padded(backbone)
    attach(backbone, [{}])
    batch = layouts.build(data, [np.arange(len(READ))], family.reads, CPU)
    logits = family.forward(batch)
    for row, own in zip(batch.order, logits, strict=True):
        ids = torch.from_numpy(data.tokens[data.offsets[row] : data.offsets[row + 1]]).long()
        states = backbone.model.transformer(input_ids=ids[None]).last_hidden_state[0]
        expected = backbone.model.classifier(states.mean(0))
        assert torch.allclose(own, expected, atol=1e-12, rtol=0)
        if len(ids) > 1:  # negative control
            assert not torch.allclose(own, backbone.model.classifier(states[0]), atol=1e-6)


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (16, 40), (8, 1000)])
def test_distances_fall_into_transformers_buckets(both_ways, buckets, farthest):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-1500, 1501)
    theirs = T5Attention._relative_position_bucket(distance, both_ways, buckets, farthest)
    assert torch.equal(buckets_of(distance, buckets, farthest, both_ways), theirs)
    assert not torch.equal(buckets_of(distance, buckets, 2 * farthest, both_ways), theirs)


def test_a_text_without_its_end_token_is_refused(tmp_path):
    backbone, data = loaded("t5", tmp_path, "sequence_classification"), features()
    data = Features(data.tokens, data.offsets, np.zeros(len(READ), np.int64))
    family = family_of(backbone)
    attach(backbone, [{}])
    with pytest.raises(BackboneError, match=r"does not end with token 1.*head_on: encoder"):
        family.forward(layouts.build(data, [np.arange(3)], family.reads, CPU))


def test_float16_weights_are_left_to_transformers(tmp_path):
    place = tiny.save("t5", tmp_path / "t5", "seq2seq_lm")
    assert family_of(load(BackboneOptions(str(place), dtype="float16"), "seq2seq_lm")) is None


def test_weights_in_bfloat16_lose_no_more_than_16_bits_do(tmp_path):
    place, data = tiny.save("t5_gated", tmp_path / "t5", "seq2seq_lm"), features()
    found = []
    for dtype in ("float32", "bfloat16"):
        backbone = load(BackboneOptions(str(place), dtype=dtype), "seq2seq_lm")
        family = family_of(backbone)
        attach(backbone, [{}])
        found.append(family.forward(layouts.build(data, [np.arange(7)], family.reads, CPU)))
    assert found[1].dtype == torch.bfloat16
    difference = (found[1].float() - found[0]).abs().max() / found[0].std()
    assert 1e-5 < float(difference) < 0.1
