"""Tasks that answer in text: their examples against tokenizers' own, with transformers' losses."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from tests.backbones import writing
from tuneoff.backbones.backbone import BackboneOptions, load, load_tokenizer
from tuneoff.data.encoded import prepare
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError
from tuneoff.planning.warnings import fp16_overflow
from tuneoff.registry import get
from tuneoff.tasks import Outputs

ARTICLES = ["the king love thy rose", "a night", "fair sun moon day the a king rose love"]
SUMMARIES = ["a king", "night", "sun moon day night love thy eyes"]
ROWS = [{"text": a, "summary": b} for a, b in zip(ARTICLES, SUMMARIES, strict=True)]


def made(task, kind, tokenizer, rows=ROWS, columns=("text",), room=None):
    head = task.head_for(kind)
    facts = {"columns": list(columns), "kind": kind, "head": head, "room": room}
    return task.features(ArrowRows.of(rows), facts, tokenizer)


def parts(features):
    return [features.tokens[a:b].tolist() for a, b in itertools.pairwise(features.offsets)]


def test_an_encoder_decoder_reads_the_article_and_says_the_summary():
    tokenizer = writing.tokenizer("t5")
    task = get("tasks", "summarization")(max_input_length=8, max_output_length=4)
    features = made(task, "encoder_decoder", tokenizer)
    whole = [tokenizer("summarize: " + text)["input_ids"] for text in ARTICLES]
    assert parts(features) == [ids if len(ids) <= 8 else [*ids[:7], 1] for ids in whole]
    ends = features.target_offsets
    said = [features.targets[a:b].tolist() for a, b in itertools.pairwise(ends)]
    labels = [tokenizer(text, truncation=True, max_length=4)["input_ids"] for text in SUMMARIES]
    assert said == labels
    assert features.cut == {"article": 1, "summary": 1}
    assert features.truncated == 1
    assert features.extras["references"].to_pylist() == [[text] for text in SUMMARIES]
    assert task.prompts(features, tokenizer) == parts(features)


def test_a_decoder_reads_both_with_a_token_between_and_learns_the_summary_alone(tmp_path):
    folder = writing.save("gpt2", tmp_path)
    task = get("tasks", "summarization")(
        max_input_length=5, max_output_length=4, generation={"max_new_tokens": 6}
    )
    options = BackboneOptions(str(folder), new_tokens=task.new_tokens("causal_lm"))
    tokenizer = load_tokenizer(options)
    between, end = len(tokenizer) - 1, tokenizer.eos_token_id
    assert tokenizer.decode([between]) == "<sum>"
    features = made(task, "decoder", tokenizer)
    want, labels = [], []
    for article, summary in zip(ARTICLES, SUMMARIES, strict=True):
        prompt = [*tokenizer(article)["input_ids"][:4], between]
        answer = [*tokenizer(summary)["input_ids"][:3], end]
        want.append([*prompt, *answer])
        labels.append([*[-100] * len(prompt), *answer])
    assert parts(features) == [ids[:-1] for ids in want]
    assert task.prompts(features, tokenizer) == [ids[: ids.index(between) + 1] for ids in want]
    assert features.cut == {"article": 2, "summary": 1}
    # transformers shifts labels by itself: the same sum of losses on the same model
    backbone = load(options, "causal_lm")
    model = backbone.model.double()
    for row, (ids, label) in enumerate(zip(want, labels, strict=True)):
        a, b = features.offsets[row : row + 2]
        with torch.no_grad():
            theirs = model(torch.tensor([ids]), labels=torch.tensor([label])).loss
            logits = model(torch.tensor([features.tokens[a:b].tolist()])).logits[0]
        mine = torch.nn.functional.cross_entropy(logits, torch.from_numpy(features.targets[a:b]))
        torch.testing.assert_close(mine, theirs.double(), rtol=0, atol=1e-6)  # theirs is float32


def test_what_becomes_of_a_long_summary():
    tokenizer = writing.tokenizer("t5")
    left = get("tasks", "summarization")(max_output_length=4, on_long="leave_out")
    features = made(left, "encoder_decoder", tokenizer)
    assert len(features) == 2
    assert features.left_out == {"summary longer than max_output_length": 1}
    refusing = get("tasks", "summarization")(max_output_length=4, on_long="refuse")
    with pytest.raises(DataError, match="1 of 3 rows have a summary longer"):
        made(refusing, "encoder_decoder", tokenizer)


def test_too_long_for_the_model_and_no_end_are_named():
    task = get("tasks", "summarization")
    tokenizer = writing.tokenizer("gpt2")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<sum>"]})
    with pytest.raises(DataError, match="set max_input_length to 33 or less"):
        made(task(max_input_length=60, max_output_length=32), "decoder", tokenizer, room=64)
    long = task(max_input_length=20, max_output_length=32, generation={"max_new_tokens": 60})
    with pytest.raises(DataError, match=r"generation\.max_new_tokens 60"):
        made(long, "decoder", tokenizer, room=64)
    assert (
        len(made(task(max_input_length=33, max_output_length=32), "decoder", tokenizer, room=64))
        == 3
    )
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no token that ends a text"):
        made(task(max_input_length=20, max_output_length=8), "decoder", tokenizer)


ALPACA = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "Say it.\n\n### Input:\nthe {input}\n\n### Response:"
)
SURVEY = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\nIdentify the correct spelling of the following word.\n\n"
    "### Input:\nOcassion\n\n### Response:\n"
)


def test_prompts_are_the_published_ones_word_for_word():
    task = get("tasks", "instruction")
    assert task().prompt("Say it.", "the {input}") == ALPACA
    spelling = "Identify the correct spelling of the following word."
    assert task(template="alpaca_short").prompt(spelling, "Ocassion") == SURVEY
    without = task().prompt("{input}", "  ")
    assert "Input:" not in without
    assert without.endswith("### Instruction:\n{input}\n\n### Response:")
    assert without == task().prompt("{input}", None) == task().prompt("{input}", float("nan"))


def test_a_response_is_learned_and_its_prompt_is_not_cut():
    tokenizer = writing.tokenizer("gpt2")
    rows = [
        {"instruction": "a king", "input": "", "output": "the rose"},
        {"instruction": "a king " * 40, "input": "", "output": "the rose"},
    ]
    task = get("tasks", "instruction")(max_input_length=60, max_output_length=8)
    features = made(task, "decoder", tokenizer, rows, ("instruction", "input"))
    assert features.left_out == {"prompt longer than max_input_length": 1}
    prompt = task.prompt("a king", "")
    ids = tokenizer(prompt)["input_ids"]
    said = [*tokenizer("the rose")["input_ids"], tokenizer.eos_token_id]
    assert parts(features) == [[*ids, *said[:-1]]]
    assert features.targets[len(ids) - 1 :].tolist() == said
    assert (features.targets[: len(ids) - 1] == -100).all()
    outputs = Outputs(np.zeros(1), np.ones(1, np.int64), generated=[[5, 6]])
    rows = task.answers(outputs, features, (), tokenizer)
    assert rows.prompts == [prompt]
    assert rows.references == [["the rose"]]
    assert rows.texts == [tokenizer.decode([5, 6])]


def test_responses_are_filtered_by_their_characters():
    task = get("tasks", "instruction")(max_response_characters=8)
    assert task.unwanted({"output": "the rose"}) is None
    assert task.unwanted({"output": "the roses"}) == "output of more than 8 characters"


def test_a_text_goes_on_from_its_first_lines():
    tokenizer = writing.tokenizer("gpt2")
    text = "the king \n a rose \n\n thy eyes \n fair love \n night"
    rows = [{"text": text}, {"text": "day \n night"}]
    task = get("tasks", "continuation")(max_length=40, generation={"max_new_tokens": 9})
    prompt, rest = task.parted(text)
    assert prompt == "the king \n a rose \n\n thy eyes \n"
    assert prompt + rest == text
    features = made(task, "decoder", tokenizer, rows)
    assert features.left_out == {"text without a line after the prompt": 1}
    whole = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert parts(features) == [whole]
    assert features.targets.tolist() == [*whole[1:], -100]
    assert task.prompts(features, tokenizer) == [tokenizer(prompt)["input_ids"]]
    assert features.extras["references"].to_pylist() == [[rest]]
    room = len(tokenizer(prompt)["input_ids"]) + 7
    task = get("tasks", "continuation")(max_length=20, generation={"max_new_tokens": 9})
    with pytest.raises(DataError, match=r"generation\.max_new_tokens to 8 or less"):
        made(task, "decoder", tokenizer, rows, room=room)


@pytest.mark.parametrize("name", ["summarization", "instruction", "continuation"])
def test_settings_survive_their_own_plain_data(name):
    task = get("tasks", name)
    for given in ({}, {"generation": {"num_beams": 2, "length_penalty": 2.0}}):
        one = task(**given)
        assert task(**one.model_dump(mode="json")) == one
        assert task(**one.model_dump(mode="json", exclude_unset=True)) == one
    length = "max_length" if name == "continuation" else "max_output_length"
    assert task(**{length: 99}).generation.max_new_tokens == 99
    assert task(**{length: 99}, generation={"max_new_tokens": 7}).generation.max_new_tokens == 7


def prepared(tmp_path, task, rows, columns=None, **source):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = get("datasets", "jsonl")(train=path, **source)
    tokenizer = writing.tokenizer("t5")
    return prepare(task, dataset, tokenizer, columns=columns, kind="encoder_decoder")


def test_rows_without_an_article_or_a_summary_are_refused_or_left_out_as_the_study_says(tmp_path):
    task = get("tasks", "summarization")()
    rows = [{"text": f"king {i}", "summary": "rose"} for i in range(30)]
    rows[3]["text"], rows[5]["summary"] = "  ", None
    with pytest.raises(DataError, match=r"(?s)2 bad rows.*line 4.*no text.*line 6.*no summary"):
        prepared(tmp_path, task, rows)
    report = prepared(tmp_path, task, rows, on_bad_rows="drop").report
    assert report["left_out"]["train"] == {"no text": 1, "no summary": 1}


def test_the_same_summary_of_other_articles_is_no_leak(tmp_path):
    task = get("tasks", "summarization")()
    rows = [{"text": f"king w{60 + i}", "summary": "rose"} for i in range(30)]
    assert prepared(tmp_path, task, rows).report["leaks"] == []
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"text": "king w61", "summary": "another"}) + "\n")
    assert prepared(tmp_path, task, rows, test=test).report["leaked_test_rows"] == 1
    test.write_text(json.dumps({"text": "king w5", "summary": "rose"}) + "\n")
    assert prepared(tmp_path, task, rows, test=test).report["leaked_test_rows"] == 0


def test_a_column_of_answers_that_is_missing_is_named(tmp_path):
    rows = [{"instruction": f"a king w{i}", "answer": "rose"} for i in range(30)]
    task = get("tasks", "instruction")()
    with pytest.raises(DataError, match="output"):
        prepared(tmp_path, task, rows)
    found = prepared(tmp_path, task, rows, columns={"output": "answer"})
    assert sum(found.report["examples"].values()) == 30


def test_a_filter_that_leaves_nothing_says_so(tmp_path):
    rows = [{"instruction": f"w{60 + i}", "input": "", "output": "roses"} for i in range(30)]
    task = get("tasks", "instruction")(max_response_characters=3)
    with pytest.raises(DataError, match="output of more than 3 characters: 30"):
        prepared(tmp_path, task, rows)
    short = get("tasks", "instruction")(max_input_length=4)
    with pytest.raises(DataError, match="prompt longer than max_input_length"):
        prepared(tmp_path, short, rows)


def test_t5_in_fp16_is_warned_of():
    told = fp16_overflow("t5", "fp16", "float32")
    assert told is not None
    assert "bf16" in told
    assert fp16_overflow("mt5", "fp32", "float16") == told
    assert fp16_overflow("t5", "bf16", "bfloat16") is None
    assert fp16_overflow("bert", "fp16", "float16") is None
