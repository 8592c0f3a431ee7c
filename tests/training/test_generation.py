"""Generation gives the texts of `transformers.generate`, whatever the batch and the company."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.training import generating
from tuneoff.backbones.padded import Wrapped
from tuneoff.errors import BackboneError, DataError
from tuneoff.training.generation import Generation, generate

CASES = {
    "greedy": {"max_new_tokens": 12},
    "bounds": {"max_new_tokens": 12, "min_new_tokens": 6, "no_repeat_ngram_size": 3},
    "beams": {"max_new_tokens": 12, "num_beams": 4},
    "beams and bounds": {
        "max_new_tokens": 14,
        "min_new_tokens": 5,
        "num_beams": 4,
        "no_repeat_ngram_size": 3,
        "length_penalty": 2.0,
        "early_stopping": True,
    },
    "short beams": {"max_new_tokens": 9, "num_beams": 3, "length_penalty": -0.7},
    "beams to the end": {"max_new_tokens": 12, "num_beams": 4, "early_stopping": "never"},
}


OTHERS = {  # negative controls: one setting of the case is another
    "greedy": {"max_new_tokens": 11},
    "bounds": CASES["bounds"] | {"no_repeat_ngram_size": 1},
    "beams": {"max_new_tokens": 12, "num_beams": 3},
    "beams and bounds": CASES["beams and bounds"] | {"length_penalty": 0.0},
    "short beams": CASES["short beams"] | {"length_penalty": 3.0},
    "beams to the end": CASES["beams to the end"] | {"length_penalty": 0.0},
}


ENCODER_DECODERS = ["t5", "t5_gated", "umt5", "bert2bert"]


def loaded(architecture, folder, double=True):
    if architecture in ENCODER_DECODERS:
        return generating.encoder_decoder(architecture, double)
    return generating.decoder(architecture, folder, double)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama", "opt", *ENCODER_DECODERS])
def test_equals_transformers(architecture, case, tmp_path):
    backbone = loaded(architecture, tmp_path)
    texts = generating.prompts()
    settings = CASES[case]
    passes = generating.plain(backbone)
    (ours,) = generate(passes, texts, Generation(**settings), end=generating.ENDS)
    assert ours == generating.answers_of_transformers(backbone, texts, **settings)
    assert len({len(text) for text in ours}) > 1, "the texts must end at several lengths"
    assert len({tuple(text) for text in ours}) > 2, "the texts must differ"
    (other,) = generate(passes, texts, Generation(**OTHERS[case]), end=generating.ENDS)
    assert ours != other, "a setting had no effect"


def test_each_way_to_stop_early_is_transformers_own(tmp_path):
    backbone = generating.decoder("gpt2", tmp_path)
    texts, found = generating.prompts(), []
    for early_stopping in (True, False, "never"):
        settings = {"max_new_tokens": 12, "num_beams": 4, "early_stopping": early_stopping}
        found += generate(
            generating.plain(backbone), texts, Generation(**settings), end=generating.ENDS
        )
        assert found[-1] == generating.answers_of_transformers(backbone, texts, **settings)
    assert found[0] != found[1]


WAYS = {
    "greedy": {"max_new_tokens": 10, "no_repeat_ngram_size": 2},
    "beams": {"max_new_tokens": 10, "num_beams": 4, "early_stopping": True},
    "draws": {"max_new_tokens": 10, "do_sample": True, "top_p": 0.9, "temperature": 1.5},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama", "opt", *ENCODER_DECODERS])
def test_the_batch_changes_nothing(architecture, way, tmp_path):
    """One prompt at a time and sixteen at once, in any order: the same texts, in float32."""
    backbone = loaded(architecture, tmp_path, double=False)
    texts = generating.prompts()
    passes, settings = generating.plain(backbone), Generation(**WAYS[way])
    (at_once,) = generate(passes, texts, settings, end=generating.ENDS)
    (alone,) = generate(passes, texts, settings, end=generating.ENDS, batch_tokens=1)
    assert at_once == alone
    if way != "draws":  # a prompt's stream goes by its place
        (backwards,) = generate(passes, texts[::-1], settings, end=generating.ENDS)
        assert at_once == backwards[::-1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("architecture", "padded"),
    [("gpt2", False), ("gpt2", True), ("t5", False), ("t5", True), ("t5's decoder", False)],
)
def test_members_write_as_if_alone(way, architecture, padded, tmp_path):
    """The last case leaves T5's encoder as it is, so that it reads once for all members."""
    backbone = loaded(architecture.split("'")[0], tmp_path)
    query = "qkv" if architecture == "gpt2" else "query"
    if architecture.endswith("decoder"):
        members = [
            generating.member(backbone, "lora", seed=k, rank=4, target_modules=f"decoder.*.{part}")
            for k, part in enumerate(("SelfAttention.q", "EncDecAttention.k", "wo"))
        ]
    else:
        members = [
            generating.member(backbone, "lora", seed=0, rank=4, target_modules="all-linear"),
            generating.member(backbone, "lora", seed=1, rank=8, target_modules=[query]),
            generating.member(backbone, "ia3", seed=2),
            generating.member(backbone, "full", seed=3),
        ]
    texts, settings = generating.prompts(6), Generation(**WAYS[way])
    passes = generating.carrying(backbone, members, padded)
    if not padded:
        alike = getattr(passes.family, "reads_alike", bool)()
        assert alike == architecture.endswith("decoder")
    together = generate(passes, texts, settings, end=generating.ENDS)
    assert passes.members == members, "what was carried is carried again"
    alone = [
        generate(generating.carrying(backbone, [each]), texts, settings, end=generating.ENDS)[0]
        for each in members
    ]
    assert together == alone
    assert len({str(written) for written in alone}) == len(members), "every member writes its own"


@pytest.mark.parametrize("architecture", ["gpt2", "llama", *ENCODER_DECODERS])
def test_a_lora_member_writes_what_its_merged_model_writes_in_transformers(architecture, tmp_path):
    backbone = loaded(architecture, tmp_path)
    lora = generating.member(backbone, "lora", rank=4, target_modules="all-linear")
    other = generating.member(backbone, "lora", seed=1, rank=8, target_modules="all-linear")
    texts = generating.prompts()
    for settings in ({"max_new_tokens": 12}, {"max_new_tokens": 12, "num_beams": 3}):
        passes = generating.carrying(backbone, [other, lora])
        ours = generate(passes, texts, Generation(**settings), end=generating.ENDS)
        with generating.merged(backbone, lora):
            theirs = generating.answers_of_transformers(backbone, texts, **settings)
        assert ours[1] == theirs
        assert ours[0] != theirs


@pytest.mark.parametrize("way", ["greedy", "beams"])
def test_a_model_that_peft_rewrote_writes_as_it_does_in_transformers(way, tmp_path):
    """Prompt tuning: virtual tokens stand in front, which no hook could do."""
    from peft import PromptTuningConfig, get_peft_model

    backbone = generating.decoder("gpt2", tmp_path, double=False)
    torch.manual_seed(0)
    model = get_peft_model(
        copy.deepcopy(backbone.model),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    )
    passes = generating.plain(backbone)
    texts, settings = generating.prompts(9), Generation(**WAYS[way])
    (bare,) = generate(passes, texts, settings, end=generating.ENDS)
    passes.family, passes.padded = Wrapped(backbone, model), True
    (ours,) = generate(passes, texts, settings, end=generating.ENDS)
    theirs = []
    for text in texts:
        ids = torch.tensor([text])
        row = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=0,
            eos_token_id=list(generating.ENDS),
            **WAYS[way],
        )[0, len(text) :].tolist()
        ends = [place for place, token in enumerate(row) if token in generating.ENDS]
        theirs.append(row[: ends[0]] if ends else row)
    assert ours == theirs
    assert ours != bare


def test_draws_follow_the_distribution_that_transformers_warps(tmp_path):
    """The first token of many draws, against the probabilities after transformers' own warpers."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    backbone = generating.decoder("gpt2", tmp_path)
    prompt = generating.prompts(1)[0]
    draws = 4000
    settings = Generation(
        max_new_tokens=1, do_sample=True, temperature=3.0, top_k=12, top_p=0.9, seed=3
    )
    (texts,) = generate(generating.plain(backbone), [prompt] * draws, settings, end=())
    ids = torch.tensor([prompt])
    scores = backbone.model(input_ids=ids).logits[:, -1]
    for warp in (TemperatureLogitsWarper(3.0), TopKLogitsWarper(12), TopPLogitsWarper(0.9)):
        scores = warp(ids, scores)
    expected = torch.softmax(scores[0], -1).double().numpy() * draws
    seen = np.bincount([text[0] for text in texts], minlength=100)
    possible = expected > 0
    assert 2 < possible.sum() < 12
    assert seen[~possible].sum() == 0
    statistic = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
    assert statistic < 40, "chi-square with at most 11 degrees of freedom: p < 1e-4 above 38"
    wrong = expected[possible][::-1]
    assert ((seen[possible] - wrong) ** 2 / wrong).sum() > 40
    again = generate(generating.plain(backbone), [prompt] * 50, settings, end=())[0]
    assert again == texts[:50], "a stream goes by member and prompt"


def test_a_text_that_ends_at_once_is_empty_and_no_prompts_give_no_texts(tmp_path):
    backbone = generating.decoder("gpt2", tmp_path)
    passes = generating.plain(backbone)
    assert generate(passes, [], Generation()) == [[]]
    prompts = generating.prompts(3)
    for settings in (Generation(max_new_tokens=5), Generation(max_new_tokens=5, num_beams=2)):
        (texts,) = generate(passes, prompts, settings, end=range(100))
        assert texts == [[], [], []]
        (texts,) = generate(passes, prompts, settings, end=())
        assert [len(text) for text in texts] == [5, 5, 5]


def test_prompts_that_cannot_be_continued_are_one_clear_error(tmp_path):
    passes = generating.plain(generating.decoder("gpt2", tmp_path))
    exact = [[7] * 55]
    assert len(generate(passes, exact, Generation(max_new_tokens=10), end=())[0][0]) == 10
    with pytest.raises(DataError, match="prompts 1, 2 of 3 have too many tokens"):
        generate(passes, [[5], [7] * 56, [7] * 70], Generation(max_new_tokens=10))
    with pytest.raises(DataError, match="at most 55 with max_new_tokens 10, prompt 2 has 70"):
        generate(passes, [[5], [7] * 56, [7] * 70], Generation(max_new_tokens=10))
    with pytest.raises(DataError, match="prompt 1 of 2 has no token"):
        generate(passes, [[5], []], Generation())
    with pytest.raises(DataError, match="outside of the 100"):
        generate(passes, [[5, 100]], Generation())


def test_a_backbone_without_a_language_head_is_named(tmp_path):
    from tests.backbones import tiny
    from tuneoff.backbones.backbone import BackboneOptions, load

    backbone = load(BackboneOptions(str(tiny.save("gpt2", tmp_path / "gpt2"))))
    with pytest.raises(BackboneError, match="sequence classification head, which writes no text"):
        generate(generating.plain(backbone), [[5]], Generation())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0.9}, "top_p\n.*has no effect: do_sample is false"),
        ({"length_penalty": 2.0}, "length_penalty\n.*has no effect: num_beams is 1"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "at most max_new_tokens"),
        ({"do_sample": True, "num_beams": 2}, "set num_beams: 1"),
        ({"num_beam": 2}, "num_beam"),
    ],
)
def test_settings_that_do_nothing_are_named(settings, message):
    with pytest.raises(ValidationError, match=message):
        Generation(**settings)
