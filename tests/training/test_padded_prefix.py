"""Entering any Hugging Face model with kept states: other heads than a classifier's, encoders below
their decoders, and models that cannot be entered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.backbones import tiny, writing
from tests.training.cases import features, material, spec
from tests.training.test_equality import engine_losses
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, _wrap, load
from tuneoff.backbones.new_tokens import hooks_of
from tuneoff.backbones.padded import Padded
from tuneoff.registry import get
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.loop import train_cohort
from tuneoff.training.prefix import PrefixCache, find_entrance

SAID = np.array([4, 6, 1, 5, 2, 3, 8])


def data(head: str) -> Features:
    """Seven texts of many lengths with what a head is to make of them."""
    some = features(7, 3)
    rng = np.random.default_rng(0)
    if head == "question_answering":
        begins = rng.integers(0, some.lengths)
        return Features(some.tokens, some.offsets, np.stack([begins, begins], 1), form="span")
    if head == "causal_lm":
        targets = np.where(rng.random(len(some.tokens)) < 0.5, -100, some.tokens.astype(np.int64))
        return Features(some.tokens, some.offsets, targets, form="token")
    return Features(
        some.tokens,
        some.offsets,
        rng.integers(4, 100, SAID.sum()),
        form="sequence",
        target_offsets=np.concatenate([[0], np.cumsum(SAID)]),
    )


def backbone(architecture: str, head: str, folder: Path) -> Backbone:
    import transformers as t

    if architecture == "bart":
        torch.manual_seed(0)
        model = t.BartForConditionalGeneration(
            t.BartConfig(
                d_model=32,
                encoder_layers=3,
                decoder_layers=2,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                vocab_size=100,
                max_position_embeddings=64,
                pad_token_id=0,
            )
        )
        model.eval().requires_grad_(False)
        made = _wrap(
            BackboneOptions("bart"), "seq2seq_lm", model, None, torch.device("cpu"), frozenset()
        )
    elif head == "seq2seq_lm":
        made = load(BackboneOptions(str(writing.save(architecture, folder))), "seq2seq_lm")
    else:
        options = BackboneOptions(str(tiny.save(architecture, folder, head)))
        made = load(options, head, ["a", "b", "c"])  # type: ignore[arg-type]
    made.model.double()
    return made


CASES = [
    ("opt", "causal_lm", "last_layer", {}, 4),
    ("opt", "causal_lm", "top_blocks", {"k": 1}, 2),
    ("electra", "question_answering", "last_layer", {}, 4),
    ("electra", "question_answering", "top_blocks", {"k": 2}, 1),
    ("bert", "seq2seq_lm", "top_blocks", {"k": 2}, 3),
    ("bert", "seq2seq_lm", "top_blocks", {"k": 4}, 2),
    ("bart", "seq2seq_lm", "top_blocks", {"k": 2}, 3),
    ("bart", "seq2seq_lm", "top_blocks", {"k": 3}, 2),
]


@pytest.mark.parametrize(("architecture", "head", "method", "settings", "place"), CASES)
def test_logits_and_gradients_from_kept_states(
    architecture, head, method, settings, place, tmp_path
):
    bone, some = backbone(architecture, head, tmp_path), data(head)
    made = get("methods", method)(**settings)
    hooks = hooks_of(bone, made.build(bone, torch.Generator().manual_seed(0)))
    for hook in hooks.values():
        hook.double()
    attach(bone, [hooks])
    family = Padded(bone)
    lowest = min(bone.sites[name].block for name in hooks)
    assert find_entrance(family, lowest, some) is None
    assert family.entrance.place == place
    attach(bone, [])
    cache = PrefixCache(bone, family, some, place, 1 << 20)
    attach(bone, [hooks])

    def run(rows, states=None):
        layout = layouts.build(some, [np.array(rows)], family.reads, torch.device("cpu"))
        kept = None if states is None else states(layout)
        logits = family.forward(layout, kept, 0 if states is None else place)
        for hook in hooks.values():
            hook.zero_grad()
        logits.square().sum().backward()
        parameters = {p for hook in hooks.values() for p in hook.parameters()}
        return logits.detach(), {p: p.grad.clone() for p in parameters if p.grad is not None}

    ran = []
    first = next(s for s in bone.sites.values() if s.block == 0 and s.role in ("query", "ffn_up"))
    handle = first.module.register_forward_hook(lambda *_: ran.append(1))
    for rows in ([0, 1, 2, 3], [6, 4], [5]):
        plain, gradients = run(rows)
        before = len(ran)
        entered, again = run(rows, cache.take)
        assert len(ran) == before > 0  # what lies below is passed by
        assert torch.allclose(entered, plain, atol=1e-12, rtol=0)
        assert gradients.keys() == again.keys()
        assert all(torch.allclose(again[p], gradients[p], atol=1e-11, rtol=0) for p in again)
        other, _ = run(rows, lambda layout: torch.randn_like(cache.take(layout)))
        assert not torch.allclose(other, plain, atol=1e-6, rtol=0)
    handle.remove()


def test_a_model_that_cannot_be_entered_runs_whole_and_says_so(tmp_path):
    """XLNet's states stand position by position, not text by text."""
    stuff = material(tmp_path, "xlnet")
    run = spec("top_blocks", training={"cache_frozen_prefix": True})
    ours, cohort = engine_losses(run, stuff)
    assert cohort.passes.entry == 0
    assert ours == engine_losses(spec("top_blocks"), stuff)[0]
    (outcome,) = train_cohort([run], stuff)
    assert "xlnet cannot be entered above it (its states are not one vector" in outcome.notes[0]
    assert train_cohort([spec("top_blocks")], stuff)[0].notes == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("trained below", "something that is trained comes before"),
        ("a block runs twice", "do not run one after the other"),
        ("leaks padding", "logits differ"),
        ("drops layers", "leaves blocks out at random"),
    ],
)
def test_what_would_change_the_numbers_is_noticed(change, reason, tmp_path):
    stuff = material(tmp_path, "electra")
    bone, train = stuff.backbone, stuff.features["train"]
    family, hooks = Padded(bone), {}
    layers = bone.model.electra.encoder.layer
    if change == "trained below":
        lora = get("methods", "lora")(target_modules=r".*\.0\..*query")
        hooks = {n: h.double() for n, h in lora.build(bone, torch.Generator()).items()}
    attach(bone, [hooks])
    assert (find_entrance(family, 2, train) is None) == (change != "trained below")
    if change == "a block runs twice":
        own = layers[0].forward
        layers[0].forward = lambda h, *args, **kwargs: layers[1](own(h, *args, **kwargs))
    elif change == "leaks padding":
        own = layers[0].forward
        layers[0].forward = lambda h, *args, **kwargs: own(h, *args, **kwargs) + h.mean(1, True)
    elif change == "drops layers":
        bone.config.layerdrop = 0.1
    assert reason in find_entrance(family, 2, train)
    assert family.entrance is None
