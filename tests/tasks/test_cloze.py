"""A cloze's losses and answers are those of a naive loop with transformers."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.backbones import tiny
from tests.data.tokenizers import REAL, tokenizer
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.data.encoded import prepare
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.datasets.jsonl import Jsonl
from tuneoff.errors import DataError
from tuneoff.registry import get
from tuneoff.tasks.cloze import PARAPHRASE, Cloze
from tuneoff.training.evaluation import evaluate
from tuneoff.training.outcome import Limits, Material

TASK = Cloze(
    template="w10 w11 {text} w12 {text_pair} w13 w14",
    verbalizers={"yes": "w21", "no": "w20"},
    max_length=60,
)
HEADS = {"gpt2": "causal_lm", "llama": "causal_lm", "gpt_neo": "causal_lm", "t5": "seq2seq_lm"}


def rows(count: int = 23) -> list[dict[str, str]]:
    draw = np.random.default_rng(0)
    texts = [
        [" ".join(f"w{word}" for word in draw.integers(25, 100, draw.integers(1, 9))) for _ in "ab"]
        for _ in range(count)
    ]
    labels = ["no", "yes"]
    return [
        {"text": a, "text_pair": b, "label": labels[place % 3 == 0]}
        for place, (a, b) in enumerate(texts)
    ]


def backbone(architecture, folder):
    head = HEADS[architecture]
    place = folder / architecture
    tiny.save(architecture, place, head if head == "causal_lm" else "sequence_classification")
    if architecture == "t5":
        from transformers import T5ForConditionalGeneration

        torch.manual_seed(0)
        T5ForConditionalGeneration(tiny.configs()["t5"]).save_pretrained(place)
    made = load(BackboneOptions(str(place)), head)
    embeddings = made.model.get_input_embeddings().weight
    with torch.no_grad():  # random models at their initial scale give every prompt the same answer
        for parameter in made.model.parameters():
            if parameter.ndim >= 2 and parameter is not embeddings:
                parameter.mul_(6.0 if head == "causal_lm" else 4.0)
    made.model.double()
    return made


def evaluated(made, task, data):
    table = ArrowRows.of(data)
    facts = task.describe(table) | {"kind": made.kind, "head": made.head}
    features = task.features(table, facts, made.tokenizer)
    attach(made, [{}])
    family = family_of(made) or Padded(made)
    passes = SimpleNamespace(
        count=1,
        limits=Limits(),
        reads=family.reads,
        logits=lambda layout, split: family.forward(layout),
        set_training=lambda training: None,
    )
    material = Material(made, task, {"test": features}, tuple(facts["classes"]))
    (answers,) = evaluate(passes, material, "test")
    return features, answers


def naive(made, task, data):
    """Losses, chosen classes and probabilities, one prompt at a time."""
    words = {name: made.tokenizer.convert_tokens_to_ids(w) for name, w in task.verbalizers.items()}
    losses, chosen, shares = [], [], []
    for row in data:
        prompt = task.template.format(text=row["text"], text_pair=row["text_pair"])
        ids = torch.tensor([made.tokenizer(prompt)["input_ids"]])
        extra = {"decoder_input_ids": torch.tensor([[0]])} if made.head == "seq2seq_lm" else {}
        log = made.model(input_ids=ids, **extra).logits[0, -1].log_softmax(-1)
        losses.append(-log[words[row["label"]]].item())
        likely = torch.stack([log[words["no"]], log[words["yes"]]]).exp()
        chosen.append(int(likely.argmax()))
        shares.append((likely / likely.sum()).tolist())
    return np.array(losses), chosen, np.array(shares)


@pytest.mark.parametrize("architecture", HEADS)
def test_losses_and_answers_are_those_of_a_naive_loop(architecture, tmp_path):
    made, data = backbone(architecture, tmp_path), rows()
    features, answers = evaluated(made, TASK, data)
    losses, chosen, shares = naive(made, TASK, data)
    close = 1e-5 if architecture == "gpt_neo" else 1e-12  # its scores are float32 in transformers
    np.testing.assert_allclose(answers.losses, losses, rtol=close)
    assert answers.predictions.tolist() == chosen
    np.testing.assert_allclose(answers.probabilities, shares, atol=1e-5)
    assert answers.labels.tolist() == [row["label"] == "yes" for row in data]
    assert answers.tokens.tolist() == [1] * len(data)
    assert answers.classes == ("no", "yes")
    assert 0 < sum(chosen) < len(data)
    accuracy = get("metrics", "accuracy")().score(answers)
    assert accuracy == np.mean(np.array(chosen) == [row["label"] == "yes" for row in data])
    assert features.truncated == 0
    other = TASK.model_copy(update={"template": "w10 {text_pair} w12 {text} w13 w14"})
    changed = evaluated(made, other, data)[1]  # negative control: another prompt
    assert np.abs(changed.losses - losses).max() > 1e-6


def test_rows_without_a_label_are_asked_all_the_same(tmp_path):
    made, data = backbone("gpt2", tmp_path), rows(5)
    bare = ArrowRows.of([{k: v for k, v in row.items() if k != "label"} for row in data])
    facts = {"columns": ["text", "text_pair"], "classes": ["no", "yes"], "kind": "decoder"}
    features = TASK.features(bare, facts | {"head": "causal_lm"}, made.tokenizer, labelled=False)
    assert features.extras["class"].to_pylist() == [-100] * 5
    assert features.labelled(np.arange(5)).tolist() == [1] * 5


@pytest.mark.parametrize("name", ["decoder", *REAL])
def test_the_longest_column_is_cut_and_the_prompts_end_never(name):
    known = tokenizer(name)
    words = ("good", "bad") if name in ("decoder", "bert-base-uncased") else ("yes", "no")
    longest = 140 if name == "decoder" else 60  # it knows letters, and few words
    task = Cloze(max_length=longest, verbalizers=dict(zip("01", words, strict=True)))
    data = [
        {"text": "the film was good , " * 40, "text_pair": "was it bad", "label": "0"},
        {"text": "liked it", "text_pair": "not very good", "label": "1"},
        {"text": "it was bad " * 30, "text_pair": "the film was good " * 30, "label": "1"},
    ]
    head = "seq2seq_lm" if name == "t5-small" else "causal_lm"
    facts = task.describe(ArrowRows.of(data)) | {"head": head}
    features = task.features(ArrowRows.of(data), facts, known)
    assert features.truncated == 2
    assert features.lengths[[0, 2]].tolist() == [longest, longest]
    whole = [known(PARAPHRASE.format(**row))["input_ids"] for row in data]
    if head == "causal_lm" and name in ("bert-base-uncased", "roberta-base"):
        whole = [ids[:-1] for ids in whole]  # the token that ends a text is not read
    ends = known('"\nAre these questions asking the same thing?\n')["input_ids"]
    ends = [i for i in ends if i not in known.all_special_ids]
    tail = len(ends) - 2  # how the quotation mark is cut depends on what stands before it
    for row, ids in enumerate(whole):
        found = features.tokens[features.offsets[row] : features.offsets[row + 1]].tolist()
        if row == 1:
            assert found == ids
        assert found[-tail:] == ids[-tail:]
        assert found[:12] == ids[:12]
    first = known.decode(features.tokens[: features.offsets[1]].tolist())
    assert "was it bad" in first  # the short question stays whole
    third = known.decode(features.tokens[features.offsets[2] :].tolist())
    kept = [third.count("it was bad"), third.count("the film was good")]
    assert min(kept) >= 3  # both long ones lose their ends
    if head == "causal_lm":
        assert (features.targets != -100).sum() == 3


def test_characters_of_several_tokens_are_cut_whole():
    from tokenizers import pre_tokenizers
    from transformers import GPT2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = GPT2Tokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    task = Cloze(template="{text} so?", verbalizers={"0": "n", "1": "y"}, max_length=19)
    data = ArrowRows.of([{"text": "\U0001f600" * 9, "label": str(i)} for i in range(2)])
    features = task.features(data, task.describe(data) | {"head": "causal_lm"}, known)
    whole = known("\U0001f600" * 3 + " so?")["input_ids"]
    assert len(whole) == 16  # a fourth one, four bytes more, would not fit
    assert features.tokens[: features.offsets[1]].tolist() == whole
    assert features.truncated == 2


def test_a_template_longer_than_the_model_is_refused():
    task = Cloze(max_length=8, verbalizers={"0": "bad", "1": "good"})
    data = ArrowRows.of([{"text": "a", "text_pair": "b", "label": str(i)} for i in range(2)])
    facts = task.describe(data) | {"head": "causal_lm"}
    with pytest.raises(DataError, match=r"template alone has \d+ tokens, and max_length is 8"):
        task.features(data, facts, tokenizer("decoder"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"0": "goodish", "1": "bad"}, "verbalizers.0: 'goodish' must be one token"),
        ({"0": "?", "1": "bad"}, "verbalizers.0: '?' must be one token"),
        ({"0": "good", "1": "GOOD"}, "verbalizers.1: 'GOOD' is the same token as 'good' of 0"),
    ],
)
def test_words_are_single_different_tokens(words, message):
    with pytest.raises(DataError, match=re.escape(message)):
        Cloze(verbalizers=words).word_ids(tokenizer("decoder"))
    assert len(Cloze(verbalizers={"0": "good", "1": "bad"}).word_ids(tokenizer("decoder"))) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"verbalizers": {"a": "yes", "b": "yes"}}, "'yes' stands for two classes"),
        ({"verbalizers": {"a": "yes"}}, "at least 2 items"),
        ({"template": "no column"}, "names no column"),
        ({"template": "{text"}, "write {{ for a brace itself"),
        ({"template": "{0} {text!r}"}, "braces hold the name of a column"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Cloze(**settings)


def test_labels_as_numbers_and_braces_in_the_template():
    task = Cloze(template="{{x}} {title}", verbalizers={0: "no", True: "yes"})
    assert task.verbalizers == {"0": "no", "true": "yes"}
    assert task.text_columns([]) == ["title"]


def test_classes_and_words_must_be_the_same():
    three = ArrowRows.of([{"text": "a", "text_pair": "b", "label": name} for name in "012"])
    with pytest.raises(DataError, match="no word for 2; give one word for each class"):
        Cloze().describe(three)
    with pytest.raises(DataError, match="words for 2 too"):
        Cloze(verbalizers={"0": "a", "1": "b", "2": "c"}).describe(three.select(np.array([0, 1])))


def test_a_label_that_train_never_saw_is_named(tmp_path):
    train, dev = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    line = '{"text": "a", "text_pair": "b%d", "label": "%s"}\n'
    train.write_text("".join(line % (i, i % 2) for i in range(20)))
    dev.write_text("".join(line % (100 + i, "odd" if i == 3 else i % 2) for i in range(6)))
    data = Jsonl(train=str(train), validation=str(dev))
    with pytest.raises(DataError, match=r"dev.jsonl.*'odd' stands 1 times in validation and never"):
        prepare(
            Cloze(verbalizers={"0": "bad", "1": "good"}), data, tokenizer("decoder"), kind="decoder"
        )


def test_encoders_are_refused_before_anything_is_loaded():
    (problem,) = Cloze().problems("encoder")
    assert "take a decoder" in problem.message
    assert not Cloze().problems("decoder")
    assert not Cloze().problems("encoder_decoder")
