"""Leaving a cohort, early stops, budgets, resuming, precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.training.cases import material, spec
from tuneoff.training.loop import Cohort, train_cohort
from tuneoff.training.outcome import Limits


def final(outcome):
    return outcome.predictions["loss"], dict(sorted(outcome.tensors.items()))


def assert_same(one, other):
    assert np.array_equal(one.predictions["loss"], other.predictions["loss"])
    assert one.metrics == other.metrics
    assert one.history == other.history
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[n], other.tensors[n]) for n in one.tensors)


def test_a_member_that_diverges_leaves_the_others_alone(tmp_path):
    stuff = material(tmp_path, double=False)
    good = spec("lora")
    bad = spec("full", rate=1e30)
    outcome, broken = train_cohort([good, bad], stuff)
    assert (outcome.status, broken.status) == ("done", "diverged")
    assert "learning rate 1e+30" in broken.reason
    assert broken.predictions is None
    alone = train_cohort([good], stuff)[0]
    assert np.allclose(outcome.predictions["loss"], alone.predictions["loss"], atol=1e-5)


def test_early_stopping_takes_the_best_checkpoint(tmp_path):
    stuff = material(tmp_path)
    run = spec("full", rate=3e-3, training={"epochs": 30, "early_stopping_patience": 2})
    outcome = train_cohort([run], stuff)[0]
    scores = [h["validation"]["accuracy"] for h in outcome.history]
    assert outcome.steps < 30 * 6
    assert len(scores) - 1 - int(np.argmax(scores)) == 2
    assert outcome.best_step == outcome.history[int(np.argmax(scores))]["step"]
    assert outcome.metrics["validation"]["accuracy"] == max(scores)


def test_a_probe_never_sees_the_test_split(tmp_path):
    outcome = train_cohort([spec("lora", kind="probe")], material(tmp_path))[0]
    assert set(outcome.metrics) == {"validation"}
    assert set(outcome.predictions["split"]) == {"validation"}


def test_a_time_budget_ends_a_run_as_a_result(tmp_path):
    outcome = train_cohort([spec("lora")], material(tmp_path), limits=Limits(seconds=1e-9))[0]
    assert outcome.status == "over_budget"
    assert "step 1 of" in outcome.reason


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_resuming_gives_the_same_bits(stop, tmp_path):
    def runs():
        dropout = {"dropout": 0.1}
        return [
            spec("lora", training=dropout),
            spec("bitfit", seed=1, training=dropout),
            spec("last_layer", training=dropout | {"epochs": 1}),
        ]

    stuff = material(tmp_path, double=False)
    undisturbed = train_cohort(runs(), stuff)

    class KilledError(Exception):
        pass

    steps = 0

    def kill(progress):
        nonlocal steps
        steps += 1
        if steps == stop + 1:
            raise KilledError

    path = tmp_path / "cohort.pt"
    with pytest.raises(KilledError):
        train_cohort(runs(), stuff, path, Limits(checkpoint_seconds=0), kill)
    assert path.exists()
    resumed = train_cohort(runs(), material(tmp_path, double=False), path)
    for one, other in zip(undisturbed, resumed, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor", "adamw_8bit", "paged_adamw"])
def test_every_optimizer_learns_and_resumes(optimizer, tmp_path):
    stuff = material(tmp_path, double=False)
    rate = 0.1 if optimizer == "sgd" else 3e-3

    def run():
        return spec("full", rate=rate, training={"optimizer": optimizer, "epochs": 4})

    outcome = train_cohort([run()], stuff)[0]
    losses = [h["train_loss"] for h in outcome.history]
    assert losses[-1] < losses[0] - 0.05
    path = tmp_path / "cohort.pt"
    cohort = Cohort([run()], stuff, Limits())
    cohort.begin()
    from tuneoff.training import checkpoints

    for _ in range(5):
        cohort.step()
        cohort.evaluate_due()
    checkpoints.save(path, cohort.members)
    assert_same(outcome, train_cohort([run()], stuff, path)[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_stays_near_fp32(precision, tmp_path):
    stuff = material(tmp_path, double=False)
    exact = train_cohort([spec("lora")], stuff)[0]
    mixed = train_cohort([spec("lora", training={"precision": precision})], stuff)[0]
    difference = np.abs(exact.predictions["loss"] - mixed.predictions["loss"]).max()
    assert 0 < difference < 0.05
    assert mixed.status == "done"


@pytest.mark.parametrize("quantization", ["nf4", "fp4", "int8"])
def test_quantized_backbones_train(quantization, tmp_path):
    stuff = material(tmp_path, double=False, quantization=quantization)
    assert all(not site.quantized for site in stuff.backbone.head_sites)
    outcome = train_cohort([spec("lora", rate=3e-3, training={"epochs": 4})], stuff)[0]
    losses = [h["train_loss"] for h in outcome.history]
    assert losses[-1] < losses[0]
    assert math.isfinite(outcome.metrics["test"]["loss"])


def test_tuned_parts_learn_the_task(tmp_path):
    """Every method ends below the loss of guessing, ln 3."""
    stuff = material(tmp_path, double=False, examples=300)
    runs = [
        spec(m, rate=r, training={"epochs": 12, "evaluate_every": "epoch"})
        for m, r in (
            ("lora", 1e-2),
            ("ia3", 3e-2),
            ("bitfit", 1e-2),
            ("adapter", 1e-2),
            ("layernorm", 1e-2),
            ("top_blocks", 3e-3),
        )
    ]
    for outcome in train_cohort(runs, stuff):
        assert outcome.metrics["test"]["loss"] < 1.0, outcome.spec.run_id


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("bert", {"peft_type": "LOHA", "r": 4}),
        ("gpt2", {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}),
        ("bert", {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}),
    ],
)
def test_any_peft_configuration_trains_alone(architecture, settings, tmp_path):
    stuff = material(tmp_path, architecture, double=False, examples=200)
    before = {n: p.clone() for n, p in stuff.backbone.model.named_parameters()}
    run = spec("peft", rate=1e-2, training={"epochs": 6, "evaluate_every": "epoch"}, **settings)
    outcome = train_cohort([run], stuff)[0]
    losses = [h["train_loss"] for h in outcome.history]
    assert losses[-1] < losses[0] - 0.01
    after = dict(stuff.backbone.model.named_parameters())
    frozen = [n for n in before if not n.startswith(("classifier", "score"))]
    assert all(torch.equal(before[n], after[n]) for n in frozen)
    assert set(after) == set(before)
