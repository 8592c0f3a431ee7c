"""The engine gives the numbers of a plain loop over transformers and PEFT, and a member those of
its solo run."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.cases import features, material, speaking, spec
from tuneoff.data.batches import order
from tuneoff.training.loop import Cohort, train_cohort
from tuneoff.training.outcome import Limits, Prefixes

STEPS = 6


def padded(features, indices):
    lengths = features.lengths[indices]
    ids = np.zeros((len(indices), lengths.max()), np.int64)
    mask = np.zeros_like(ids)
    for row, index in enumerate(indices):
        tokens = features.tokens[features.offsets[index] : features.offsets[index + 1]]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return (
        torch.from_numpy(ids),
        torch.from_numpy(mask),
        torch.from_numpy(features.targets[indices]),
    )


def reference_losses(model, features, run, trainable):
    """transformers' model in a plain loop: padding, torch's AdamW, transformers' schedule."""
    from transformers import get_scheduler

    training = run.training
    decays = [p for n, p in trainable if p.ndim >= 2]
    rest = [p for n, p in trainable if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": decays, "weight_decay": training.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=run.learning_rate,
        betas=training.betas,
        eps=training.eps,
    )
    steps = int(training.epochs * -(-len(features) // training.batch_size))
    schedule = get_scheduler(
        training.schedule,
        optimizer,
        num_warmup_steps=int(np.ceil(training.warmup_ratio * steps)),
        num_training_steps=steps,
    )
    losses, step = [], 0
    model.eval()
    while step < STEPS:
        epoch, place = divmod(step, -(-len(features) // training.batch_size))
        batch = order(len(features), run.seed, epoch)[
            place * training.batch_size : (place + 1) * training.batch_size
        ]
        ids, mask, labels = padded(features, batch)
        loss = torch.nn.functional.cross_entropy(
            model(input_ids=ids, attention_mask=mask).logits, labels
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in trainable], training.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        step += 1
    return losses


def engine_losses(run, stuff, limits=Limits(), steps=STEPS):
    cohort = Cohort([run], stuff, limits)
    cohort.begin()
    return [cohort.step()[run.run_id] for _ in range(steps)], cohort


@pytest.mark.parametrize(
    ("architecture", "schedule"),
    [(a, s) for a in ("bert", "gpt2", "t5") for s in ("linear", "cosine")]
    + [("opt", "linear"), ("deberta", "linear")],
)
def test_full_fine_tuning_equals_a_plain_transformers_loop(architecture, schedule, tmp_path):
    stuff = material(tmp_path, architecture)
    stuff.backbone.config.pad_token_id = 0  # transformers' decoders find the last token by it
    run = spec("full", training={"schedule": schedule, "warmup_ratio": 0.3, "max_grad_norm": 0.5})
    ours, _ = engine_losses(run, stuff)
    stuff.backbone.fresh_head(torch.Generator().manual_seed(run.seed))
    model = copy.deepcopy(stuff.backbone.model)
    model.requires_grad_(True)
    theirs = reference_losses(model, stuff.features["train"], run, list(model.named_parameters()))
    assert np.allclose(ours, theirs, atol=1e-12, rtol=0)
    other = spec("full", rate=1.1e-3, training={"schedule": schedule, "warmup_ratio": 0.3})
    assert not np.allclose(engine_losses(other, stuff)[0], theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_lora_equals_peft_in_a_plain_loop(architecture, tmp_path):
    from peft import get_peft_model, set_peft_model_state_dict

    stuff = material(tmp_path, architecture)
    run = spec("lora", rank=4)
    cohort = Cohort([run], stuff, Limits())
    hooks = cohort.members[0].hooks
    method = run.method.settings
    config = method.peft_config(stuff.backbone)
    config.inference_mode = False
    model = get_peft_model(copy.deepcopy(stuff.backbone.model), config).double()
    state = {f"base_model.model.{name}": value for name, value in method.peft_state(hooks).items()}
    for site in stuff.backbone.head_sites:
        for name, value in hooks[site.name].named_parameters():
            state[f"base_model.model.{site.name}.{name}"] = value.detach()
    result = set_peft_model_state_dict(model, state)
    assert not result.unexpected_keys
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    theirs = reference_losses(model, stuff.features["train"], run, trainable)
    cohort.begin()
    ours = [cohort.step()[run.run_id] for _ in range(STEPS)]
    assert np.allclose(ours, theirs, atol=1e-12, rtol=0)
    other, _ = engine_losses(spec("lora", rank=4, lora_alpha=17), stuff)
    assert not np.allclose(other, theirs, atol=1e-9, rtol=0)


MIXED = [
    {"method": "lora", "rank": 4},
    {"method": "lora", "rank": 8, "rate": 3e-3, "seed": 1},
    {"method": "ia3"},
    {"method": "bitfit", "training": {"batch_size": 5, "epochs": 1}},
    {"method": "adapter"},
    {"method": "last_layer"},
    {"method": "layernorm"},
    {"method": "top_blocks"},
]
DROPPING = [{"method": "lora", "lora_dropout": 0.2, "seed": 3}, {"method": "lora", "rank": 4}]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize(
    ("cases", "tolerance"),
    # beside one that drops what enters its keys, a member's last block multiplies in another order,
    # and AdamW divides its least gradients, rounding and all, by their own size
    [(MIXED, 1e-11), (DROPPING, 1e-8)],
    ids=["mixed", "dropping"],
)
def test_a_member_equals_its_solo_run(cases, tolerance, architecture, dropout, tmp_path):
    stuff = material(tmp_path, architecture)
    runs = []
    for number, case in enumerate(cases):
        case = dict(case)
        training = {"dropout": dropout} | case.pop("training", {})
        run = spec(case.pop("method"), training=training, **case)
        run.run_id += str(number)
        runs.append(run)
    together = train_cohort(runs, stuff)
    for run, member in zip(runs, together, strict=True):
        alone = train_cohort([run], stuff)[0]
        assert member.steps == alone.steps
        ours = [h["train_loss"] for h in member.history]
        theirs = [h["train_loss"] for h in alone.history]
        assert np.allclose(ours, theirs, atol=tolerance, rtol=0), run.run_id
        assert np.allclose(
            member.predictions["loss"], alone.predictions["loss"], atol=100 * tolerance
        )
    losses = [tuple(h["train_loss"] for h in o.history) for o in together]
    assert len(set(losses)) == len(losses)  # negative control: members do differ


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_members_of_a_t5_that_speaks_equal_their_solo_runs(dropout, tmp_path):
    stuff = speaking(tmp_path)
    runs = []
    fitting = [case for case in MIXED if case["method"] != "bitfit"]  # T5 has no biases
    for number, case in enumerate([*fitting, {"method": "full"}]):
        case = dict(case)
        training = {"dropout": dropout} | case.pop("training", {})
        run = spec(case.pop("method"), training=training, **case)
        run.run_id += str(number)
        runs.append(run)
    cohort = Cohort(runs, stuff, Limits())
    assert not cohort.passes.padded
    cohort.begin()
    together = [cohort.step() for _ in range(STEPS)]
    for run in runs:
        alone, _ = engine_losses(run, stuff)
        ours = [losses[run.run_id] for losses in together]
        assert np.allclose(ours, alone, atol=1e-11, rtol=0), run.run_id
    last = [together[-1][run.run_id] for run in runs]
    assert len(set(last)) == len(last)  # negative control: members do differ


@pytest.mark.parametrize("limits", [Limits(micro_batch_tokens=30), Limits(micro_batch_tokens=7)])
def test_micro_batches_change_nothing(limits, tmp_path):
    stuff = material(tmp_path)
    run = spec("full")
    assert np.allclose(
        engine_losses(run, stuff)[0], engine_losses(run, stuff, limits)[0], atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("method", ["last_layer", "top_blocks", "lora"])
@pytest.mark.parametrize(
    "architecture", ["bert", "gpt2", "llama", "opt", "electra", "deberta", "mpt", "gemma"]
)
def test_a_cached_prefix_changes_nothing(method, architecture, tmp_path):
    stuff = material(tmp_path, architecture)
    targets = {"target_modules": r".*\.2\..*"} if method == "lora" else {}
    cached = engine_losses(spec(method, training={"cache_frozen_prefix": True}, **targets), stuff)
    plain = engine_losses(spec(method, **targets), stuff)
    assert cached[1].passes.entry == {"last_layer": 4, "top_blocks": 1, "lora": 2}[method]
    assert plain[1].passes.entry == 0
    close = 1e-8 if architecture == "mpt" else 1e-12  # MPT's attention weights are in float32
    assert np.allclose(cached[0], plain[0], atol=close, rtol=0)
    for cohort in (cached[1], plain[1]):
        cohort.members[0].leave("done")
    ours, theirs = (
        outcome.predictions["loss"] for (outcome,) in (cached[1].outcomes(), plain[1].outcomes())
    )
    assert np.allclose(ours, theirs, atol=close, rtol=0)
    for states in cached[1].passes.cache("test").states:  # negative control: another's states
        states.copy_(states.roll(1, 0))
    (moved,) = cached[1].outcomes()
    assert not np.allclose(moved.predictions["loss"], theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["last_layer", "top_blocks"])
@pytest.mark.parametrize("architecture", ["opt", "electra"])
def test_a_cached_prefix_runs_once(method, architecture, tmp_path):
    """Blocks below it see each example once, however many epochs and evaluations there are."""
    stuff = material(tmp_path, architecture)
    ran = {0: 0, 2: 0}

    def count(block):
        def hook(_module, args):
            ran[block] += len(args[0])

        return hook

    for block in ran:
        site = next(
            s for s in stuff.backbone.sites.values() if s.block == block and s.role == "ffn_up"
        )
        site.module.register_forward_pre_hook(count(block))
    run = spec(method, training={"cache_frozen_prefix": True, "epochs": 3})
    cohort = Cohort([run], stuff, Limits())
    for split in stuff.features:
        cohort.passes.cache(split)
    built = dict(ran)
    assert built[0] > 0
    (outcome,) = train_cohort([run], replace(stuff, prefixes=Prefixes()))
    again = {block: ran[block] - built[block] for block in ran}
    assert again[0] == built[0]
    assert again[2] > 3 * built[2] if method == "top_blocks" else again[2] == built[2]
    assert any("ran once per example, without dropout" in note for note in outcome.notes)


PREFIXES = {  # where the trained part of T5 begins: 2 blocks of the encoder, 2 of the decoder
    "encoder": (1, "lora", {"target_modules": r".*encoder\.block\.1\..*"}),
    "decoder": (2, "top_blocks", {"k": 2}),
    "decoder's last": (3, "lora", {"target_modules": r".*decoder\.block\.1\..*"}),
    "head": (5, "last_layer", {}),
}


@pytest.mark.parametrize("case", PREFIXES)
@pytest.mark.parametrize("made", [material, speaking])
def test_a_cached_prefix_of_an_encoder_decoder_changes_nothing(case, made, tmp_path):
    stuff = made(tmp_path, "t5")
    entry, method, settings = PREFIXES[case]
    cached = engine_losses(spec(method, training={"cache_frozen_prefix": True}, **settings), stuff)
    plain = engine_losses(spec(method, **settings), stuff)
    assert cached[1].passes.entry == entry
    assert plain[1].passes.entry == 0
    assert np.allclose(cached[0], plain[0], atol=1e-12, rtol=0)
    assert len(set(cached[0])) == STEPS


def test_a_prefix_is_kept_for_the_next_cohort_on_the_same_material(tmp_path):
    stuff = material(tmp_path)
    run = spec("top_blocks", training={"cache_frozen_prefix": True})
    alone = engine_losses(run, stuff)[0]
    kept = stuff.prefixes.states["train"]
    assert engine_losses(run, stuff)[0] == alone
    assert stuff.prefixes.states["train"] is kept
    fewer = replace(stuff, features={**stuff.features, "train": features(44, 7)})
    assert engine_losses(run, fewer)[0] != alone  # other rows are not taken for these
    engine_losses(spec("full"), stuff)
    assert not stuff.prefixes.states  # what another cohort has no use for takes no memory from it
    assert engine_losses(run, stuff)[0] == alone


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_prefix_on_disk_is_the_prefix_in_memory(limit, tmp_path):
    stuff = material(tmp_path)
    run = spec("last_layer", training={"cache_frozen_prefix": True})
    losses, _ = engine_losses(run, stuff, Limits(prefix_cache_bytes=limit))
    assert np.allclose(losses, engine_losses(spec("last_layer"), stuff)[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    ("architecture", "method", "made"),
    [
        ("bert", "lora", material),
        ("opt", "lora", material),
        ("opt", "full", material),
        ("t5", "lora", speaking),
    ],
)
def test_gradient_checkpointing_changes_nothing(architecture, method, made, dropout, tmp_path):
    stuff = made(tmp_path, architecture)
    drops = {"lora_dropout": dropout} if method == "lora" else {}
    plain, _ = engine_losses(spec(method, training={"dropout": dropout}, **drops), stuff)
    saving, _ = engine_losses(
        spec(method, training={"dropout": dropout, "gradient_checkpointing": True}, **drops), stuff
    )
    assert np.allclose(plain, saving, atol=1e-12, rtol=0)
    other, _ = engine_losses(spec(method, rate=1.1e-3, training={"dropout": dropout}), stuff)
    assert not np.allclose(plain, other, atol=1e-9, rtol=0)


def test_dropout_acts_and_follows_the_seed(tmp_path):
    stuff = material(tmp_path)
    first, _ = engine_losses(spec("lora", training={"dropout": 0.3}), stuff)
    assert first == engine_losses(spec("lora", training={"dropout": 0.3}), stuff)[0]
    assert not np.allclose(first, engine_losses(spec("lora"), stuff)[0], atol=1e-6)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_t5_speaks_in_16_bits(quantization, tmp_path):
    stuff = speaking(tmp_path, "t5_gated", double=False, quantization=quantization)
    wide, _ = engine_losses(spec("lora"), stuff)
    narrow, _ = engine_losses(spec("lora", training={"precision": "bf16"}), stuff)
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=2e-2)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_4_bit_backbone_trains_in_16_bits(precision, tmp_path):
    """Adapted projections come in 16 bits, the 4-bit ones beside them in 32: attention takes both,
    and loses no more than 16 bits do."""
    stuff = material(tmp_path, double=False, quantization="nf4")
    targets = ("query", "value")
    wide, _ = engine_losses(spec("lora", target_modules=targets), stuff)
    low = spec("lora", target_modules=targets, training={"precision": precision})
    (outcome,) = train_cohort([low], stuff)
    assert outcome.status == "done"
    narrow, _ = engine_losses(low, stuff)
    assert narrow != wide
    assert narrow == pytest.approx(wide, rel=2e-2)
