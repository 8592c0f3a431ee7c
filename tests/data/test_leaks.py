"""Leaks: against a naive search of all pairs, with near misses that must not be found."""

import json
import re

import numpy as np
import pytest

from tests.data.tokenizers import real_rows
from tuneoff.data.encoded import split_rows
from tuneoff.data.leaks import Shared, clean_train, find_leaks, find_shared
from tuneoff.data.scan import scan_rows
from tuneoff.data.text_keys import normal_form, text_keys
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.datasets.jsonl import Jsonl
from tuneoff.tasks.question_answering import QuestionAnswering
from tuneoff.tasks.text_classification import TextClassification

TRAIN = ["A fine film.", "Dull, dull; dull!", "Straße", ":-)", "I liked it", "日本 語"]
TEST = [
    "a FINE film",
    "dull dull dull!!",
    "STRASSE",
    ":-(",
    "I liked it",
    "I liked it a lot",
    "日本語",
]


def scanned(texts, name, texts_b=None):
    columns = ["text"] if texts_b is None else ["text", "text_pair"]
    pairs = texts_b or texts
    rows = [
        {"text": a, "text_pair": b, "label": i % 2}
        for i, (a, b) in enumerate(zip(texts, pairs, strict=True))
    ]
    return scan_rows(ArrowRows.of(rows, name), columns, TextClassification(), drop=False)


def test_case_spaces_and_punctuation_are_forgiven_and_words_are_not():
    (leak,) = find_leaks(
        {"train": scanned(TRAIN, "train"), "test": scanned(TEST, "test")}, ["text"]
    )
    assert (leak.split, leak.other, leak.count, leak.exact) == ("test", "train", 5, 1)
    assert leak.share == pytest.approx(5 / 7)
    found = {(one["test"], one["train"], one["exact"]) for one in leak.examples}
    assert found == {
        ("test row 0", "train row 0", False),
        ("test row 1", "train row 1", False),
        ("test row 2", "train row 2", False),
        ("test row 4", "train row 4", True),
        ("test row 6", "train row 5", False),
    }


def test_no_leaks_no_report():
    splits = {"train": scanned(["one", "two"], "a"), "test": scanned(["three", "four"], "b")}
    assert find_leaks(splits, ["text"]) == []
    assert clean_train(splits).tolist() == [0, 1]


def test_a_pair_is_the_same_only_if_both_texts_are():
    train = scanned(["who", "who"], "train", ["is it", "was it"])
    test = scanned(["who", "Who", "whois"], "test", ["are you", "is it?", "it"])
    (leak,) = find_leaks({"train": train, "test": test}, ["text", "text_pair"])
    assert leak.count == 1
    assert leak.examples[0]["test"] == "test row 1"


def test_clean_train_drops_what_stands_in_validation_or_test():
    splits = {
        "train": scanned(["a b", "c", "d", "C!"], "train"),
        "validation": scanned(["x", "AB"], "validation"),
        "test": scanned(["c."], "test"),
    }
    assert clean_train(splits).tolist() == [2]
    pairs = {(leak.split, leak.other): leak.count for leak in find_leaks(splits, ["text"])}
    assert pairs == {("test", "train"): 1, ("validation", "train"): 1}


def test_keys_separate_what_normal_forms_separate():
    texts = TRAIN + TEST + [f"text {i}" for i in range(2000)]
    keys = text_keys([texts])
    assert len(np.unique(keys)) == len({normal_form(text) for text in texts})


def test_on_real_data_the_same_rows_as_a_naive_search():
    train, test = real_rows("sst5", "train", 10_000), real_rows("sst5", "test", 10_000)

    def naive(text):
        return re.sub(r"[^a-z0-9à-ÿ]", "", text.lower()) or text.strip()

    seen = {naive(row["text"]) for row in train}
    expected = [i for i, row in enumerate(test) if naive(row["text"]) in seen]
    splits = {
        name: scan_rows(ArrowRows.of(rows, name), ["text"], TextClassification(), drop=False)
        for name, rows in (("train", train), ("test", test))
    }
    (leak,) = find_leaks(splits, ["text"])
    assert leak.count == len(expected) > 0
    assert [one["test"] for one in leak.examples] == [f"test row {i}" for i in expected[:5]]


def test_contexts_that_stand_in_two_splits_are_named():
    def asked(pairs, name):
        rows = [
            {"question": q, "context": c, "answers": {"text": ["w"], "answer_start": [0]}}
            for q, c in pairs
        ]
        return scan_rows(
            ArrowRows.of(rows, name), ["question", "context"], QuestionAnswering(), drop=False
        )

    train = asked([("who?", "w one."), ("what?", "w two."), ("when?", "w three.")], "train")
    test = asked(
        [("why?", "w, ONE!"), ("how?", "w one."), ("what?", "w two."), ("who?", "w x")], "t"
    )
    (shared,) = find_shared({"train": train, "test": test}, "context")
    # two rows of one context; the third is a leak itself, and the last stands there alone
    assert shared == Shared("test", "train", "context", 2, 1)
    (leak,) = find_leaks({"train": train, "test": test}, ["question", "context"])
    assert leak.count == 1
    assert find_shared({"train": train, "test": test}, None) == []


def test_a_made_split_of_questions_shares_no_context(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))
    lines = [
        {"question": f"who is {i}?", "context": f"w{i // 4} is here.", "answer": f"w{i // 4}"}
        for i in range(80)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = split_rows(QuestionAnswering(), Jsonl(train=path))
    contexts = {name: set(rows.column("context")) for name, rows in made.rows.items()}
    assert sum(map(len, contexts.values())) == len(set.union(*contexts.values())) == 20
    assert made.report["shared"] == []
