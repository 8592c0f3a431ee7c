"""Questions go through a whole study: texts beside references, exact match, verdict and report."""

from __future__ import annotations

import json
import random
import re
import string

import numpy as np
import pytest

from tests.running.test_end_to_end import tuneoff, write_study
from tuneoff.ledger import Ledger

KEPT = ("exact_match", "token_f1")


def normal(text: str) -> str:
    """SQuAD's own `normalize_answer`."""
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The answer is the word behind w4; two rows are bad, one names a wrong place."""
    folder = tmp_path_factory.mktemp("questions")
    draw = random.Random(0)
    lines = []
    for number in range(120):
        words = [f"w{draw.randrange(20, 100)}" for _ in range(draw.randrange(6, 24))]
        place = draw.randrange(len(words))
        answer = words[place]
        words.insert(place, "w4")
        context = " ".join(words)
        start = context.index("w4 ") + 3 if number != 7 else 0
        answers = {"text": [answer if number > 1 else "w0"], "answer_start": [start]}
        row = {"question": f"w5 w{number % 80 + 10}", "context": context, "answers": answers}
        lines.append(json.dumps(row))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    task = {
        "name": "words",
        "task": "question_answering",
        "max_length": 16,
        "doc_stride": 4,
        "data": {
            "dataset": "jsonl",
            "train": str(folder / "rows.jsonl"),
            "on_bad_rows": "drop",
            "split": {"validation": 20, "test": 30},
            "limit": {"test": 30},
            "shift": {"again": {"test": str(folder / "rows.jsonl")}},
        },
    }
    methods = ["last_layer", {"lora": {"learning_rate": 0.003}}]
    places = {"interpolation": [0, 1]}
    study = write_study(folder, tasks=[task], methods=methods, evaluation=places)
    done = tuneoff("run", str(study), "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_a_question_is_one_row(finished):
    ledger = Ledger(finished[0])
    records = ledger.records()
    assert [record["status"] for record in records] == ["done"] * 4
    for record in records:
        rows = ledger.predictions(record["run_id"], "test")
        assert rows["row"].tolist() == list(range(30))
        assert rows["tokens"].max() > 1  # windows
        right = [
            any(normal(text) == normal(one) for one in wanted)
            for text, wanted in zip(rows["text"], rows["references"], strict=True)
        ]
        test = record["metrics"]["test"]
        assert test["exact_match"] == pytest.approx(np.mean(right))
        assert test["token_f1"] >= test["exact_match"]
        assert test["loss"] == pytest.approx(np.average(rows["loss"], weights=rows["tokens"]))
        assert "exact_match" in record["history"][0]["validation"]


def test_further_rows_and_places_between_are_answered_in_text_too(finished):
    ledger = Ledger(finished[0])
    for record in ledger.records():
        rows = ledger.predictions(record["run_id"], "shift:again")
        right = [
            any(normal(text) == normal(one) for one in wanted)
            for text, wanted in zip(rows["text"], rows["references"], strict=True)
        ]
        assert record["metrics"]["shift:again"]["exact_match"] == pytest.approx(np.mean(right))
        (leak,) = (one for one in record["data"]["leaks"] if one["split"] == "shift:again")
        assert leak["other"] == "train"
        original, trained = record["interpolation"]
        for split in ("test", "shift:again"):
            own = record["metrics"][split]
            assert trained["metrics"][split] == {name: own[name] for name in ("loss", *KEPT)}
            assert original["metrics"][split].keys() == trained["metrics"][split].keys()
        moved = original["metrics"]["test"]["loss"] != trained["metrics"]["test"]["loss"]
        assert moved == (record["method"] == "lora")  # last_layer trains the head alone


def test_what_was_left_out_and_put_right_is_said(finished):
    record = Ledger(finished[0]).records()[0]
    left_out = record["data"]["left_out"]["train"]
    assert left_out == {"the answer does not stand in the context": 2}
    noted = (one for split, one in record["data"]["noted"].items() if "shift" not in split)
    assert sum(one.get("answer_start corrected", 0) for one in noted) == 1
    page = (finished[0] / "report.html").read_text()
    assert "answer_start corrected" in page
    assert "the answer does not stand in the context" in page


def test_there_is_a_verdict(finished):
    (contest,) = json.loads((finished[0] / "verdict.json").read_text())["contests"]
    assert contest["metric"] == "exact_match"
    assert contest["majority_baseline"] is None
    assert {one["method"] for one in contest["methods"]} == {"lora", "last_layer"}
    assert contest["headline"]


def test_the_winner_finds_the_same_answers(finished):
    """A run ends with its winner, loaded again in a fresh process."""
    check = json.loads((finished[0] / "winner" / "check.json").read_text())
    assert check["passed"]
    assert check["reloaded"]["spans"] == 50
    assert check["reloaded"]["spans_differ"] == check["library"]["spans_differ"] == 0
