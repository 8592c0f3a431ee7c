"""Question answering: windows, marks and answers are those of transformers' run_qa.py."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.data.tokenizers import REAL, tokenizer
from tests.tasks import squad_like
from tuneoff.data.encoded import prepare
from tuneoff.data.span_answers import Answer, answers_of, place_of
from tuneoff.datasets import Dataset
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError, StudyError
from tuneoff.study import load_study
from tuneoff.tasks import Outputs
from tuneoff.tasks.question_answering import QuestionAnswering

SMALL = {"max_length": 40, "doc_stride": 10}
ENCODERS = ["encoder", *(one for one in REAL if one.values[0] != "gpt2")]


def facts(kind="encoder", **more):
    head = "seq2seq_lm" if kind == "encoder_decoder" else "question_answering"
    return {"columns": squad_like.COLUMNS, "kind": kind, "head": head, **more}


def rows_for(name):
    return squad_like.made_rows() if name in ("encoder", "decoder") else squad_like.real_rows(60)


def examples(made):
    return [
        made.tokens[a:b].tolist() for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True)
    ]


def marks_of(made):
    return list(map(tuple, made.targets.tolist()))


@pytest.mark.parametrize("name", ENCODERS)
def test_windows_and_marks_are_those_of_run_qa(name):
    rows, reads = rows_for(name), tokenizer(name)
    size = SMALL if name == "encoder" else {"max_length": 96, "doc_stride": 32}
    made = QuestionAnswering(**size).features(ArrowRows.of(rows), facts(), reads)
    expected, owners, marks = squad_like.run_qa_train(reads, rows, *size.values())
    assert examples(made) == expected["input_ids"]
    assert marks_of(made) == marks
    assert made.extras["row"].to_pylist() == owners
    assert len(owners) > len(rows)  # several windows
    if "token_type_ids" in reads.model_input_names:
        assert made.token_type.tolist() == [
            one for types in expected["token_type_ids"] for one in types
        ]
    other = QuestionAnswering(**size | {"doc_stride": 5})  # negative control
    assert examples(other.features(ArrowRows.of(rows), facts(), reads)) != expected["input_ids"]


@pytest.mark.parametrize("n_best", [1, 3, 20])
@pytest.mark.parametrize("name", ENCODERS)
def test_answers_are_those_of_run_qa(name, n_best):
    rows, reads = rows_for(name), tokenizer(name)
    task = QuestionAnswering(**SMALL, n_best_size=n_best, max_answer_length=4)
    made = task.features(ArrowRows.of(rows), facts(), reads)
    tokenized, owners, _ = squad_like.run_qa_train(reads, rows, 40, 10)
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=(n, 2)).astype(np.float32) for n in made.lengths]
    outputs = Outputs(rng.random(len(made)), np.ones(len(made), np.int64), logits)
    found = task.answers(outputs, made, (), reads)
    expected = squad_like.run_qa_answers(rows, tokenized, owners, logits, n_best, 4)
    assert list(found.texts) == [text.strip() for text in expected]
    assert found.references == [row["answers"]["text"] for row in rows]
    assert found.prompts == [row["question"].lstrip() for row in rows]
    assert found.rows.tolist() == list(range(len(rows)))
    assert found.tokens.tolist() == [owners.count(row) for row in range(len(rows))]
    for row in (0, 5):
        of_row = [loss for loss, owner in zip(outputs.losses, owners, strict=True) if owner == row]
        assert abs(found.losses[row] - np.mean(of_row)) < 1e-12
    shuffled = [one[::-1] for one in logits]  # negative control
    other = task.answers(Outputs(outputs.losses, outputs.tokens, shuffled), made, (), reads)
    assert list(other.texts) != list(found.texts)


def test_answers_do_not_depend_on_the_order_of_windows():
    rows, reads = rows_for("encoder"), tokenizer("encoder")
    task = QuestionAnswering(**SMALL)
    made = task.features(ArrowRows.of(rows), facts(), reads)
    rng = np.random.default_rng(1)
    logits = [rng.normal(size=(n, 2)) for n in made.lengths]
    losses, ones = rng.random(len(made)), np.ones(len(made), np.int64)
    found = task.answers(Outputs(losses, ones, logits), made, (), reads)
    places = rng.permutation(len(made))
    outputs = Outputs(losses[places], ones, [logits[place] for place in places])
    other = task.answers(outputs, made.take(places), (), reads)
    assert list(other.texts) == list(found.texts)
    np.testing.assert_allclose(other.losses, found.losses, rtol=1e-12)


@pytest.mark.parametrize("name", ["decoder", *(one for one in REAL if one.values[0] == "gpt2")])
def test_a_decoder_reads_question_end_of_text_context(name):
    rows, reads = rows_for(name), tokenizer(name)
    task = QuestionAnswering(max_length=96, doc_stride=20)
    made = task.features(ArrowRows.of(rows), facts("decoder"), reads)
    contexts = {}
    for place, ids in enumerate(examples(made)):
        row = made.extras["row"][place].as_py()
        front = reads(rows[row]["question"].lstrip())["input_ids"]
        assert ids[: len(front) + 1] == [*front, reads.eos_token_id]
        assert len(ids) <= 96
        contexts.setdefault(row, []).append(ids[len(front) + 1 :])
    for row, parts in contexts.items():
        whole = parts[0] + [token for part in parts[1:] for token in part[20:]]
        assert whole == reads(rows[row]["context"])["input_ids"]
        assert all(before[-20:] == after[:20] for before, after in itertools.pairwise(parts))
    assert any(len(parts) > 1 for parts in contexts.values())


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_marks_hold_the_answer(kind):
    """What stands between the marks is the answer, wherever it is whole."""
    rows, reads = rows_for("decoder"), tokenizer(kind)
    task = QuestionAnswering(max_length=60, doc_stride=20)
    made = task.features(ArrowRows.of(rows), facts(kind), reads)
    sure = [
        np.stack([np.eye(n)[first], np.eye(n)[last]], 1)
        for n, (first, last) in zip(made.lengths, marks_of(made), strict=True)
    ]
    outputs = Outputs(np.zeros(len(made)), np.ones(len(made), np.int64), sure)
    found = task.answers(outputs, made, (), reads)
    assert list(found.texts) == [row["answers"]["text"][0] for row in rows]


def test_an_answer_in_no_window_is_counted():
    long = " ".join(["good"] * 30)
    context = f"the film was {long} and it was bad"
    row = {"question": "what ?", "context": context, "answers": {"text": [long]}}
    size = {"max_length": 20, "doc_stride": 5}
    made = QuestionAnswering(**size).features(
        ArrowRows.of([row]), facts(split="train"), tokenizer("encoder")
    )
    assert made.noted == {"answer cut off by every window": 1}
    assert set(marks_of(made)) == {(0, 0)}
    strict = QuestionAnswering(**size, cut_answers="left_out")
    left = strict.features(ArrowRows.of([row]), facts(split="train"), tokenizer("encoder"))
    assert (len(left), left.left_out) == (0, {"answer cut off by every window": 1})
    judged = strict.features(ArrowRows.of([row]), facts(split="test"), tokenizer("encoder"))
    assert len(judged) == len(made)  # a question is judged in any case


def test_answers_are_read_in_every_form():
    expected = [Answer("good", 4), Answer("bad", None)]
    texts, starts = ["good", "bad", " "], [4, None, 0]
    for value in (
        {"text": texts, "answer_start": starts},
        [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)],
        '{"text": ["good", "bad"], "answer_start": [4, null]}',
    ):
        assert answers_of({"answers": value}) == expected
    assert answers_of({"answers": ["good", "bad"]}) == [Answer("good", None), Answer("bad", None)]
    assert answers_of({"answer": "good", "answer_start": 4.0}) == expected[:1]
    assert answers_of({"answer": None}) == []
    with pytest.raises(DataError, match="answer_start: 'x' is no whole number"):
        answers_of({"answer": "good", "answer_start": "x"})


def test_a_wrong_place_is_mended():
    assert place_of([Answer("b", 4)], "a b b") == (4, 5, False)
    assert place_of([Answer("b", 3)], "a b b") == (2, 3, True)
    assert place_of([Answer("b", None)], "a b b") == (2, 3, False)
    assert place_of([Answer("z", 0), Answer("a", 9)], "a b b") == (0, 1, True)
    assert place_of([Answer("z", 0)], "a b b") is None


class Given(Dataset):
    """Rows at hand."""

    rows: list

    def load(self):
        return {"train": ArrowRows.of(self.rows, "squad.json")}


def bad_rows():
    """Thirty good rows, and one of each kind of bad row."""
    good = squad_like.made_rows()
    start = {**good[0]["answers"], "answer_start": [1000, 1000]}
    return [
        *good,
        {**good[1], "answers": {"text": ["elsewhere"], "answer_start": [0]}},
        {**good[2], "answers": {"text": [], "answer_start": []}},
        {**good[3], "context": " "},
        {**good[4], "question": ""},
        {**good[5], "question": "good " * 40},
        {**good[6], "context": "\u200b good", "answers": {"text": ["\u200b"], "answer_start": [0]}},
        {**good[0], "question": "and where is it ?", "answers": start},
    ]


def test_bad_rows_are_left_out_and_counted():
    source = Given(rows=bad_rows(), on_bad_rows="drop")
    prepared = prepare(QuestionAnswering(**SMALL), source, tokenizer("encoder"))
    assert prepared.report["left_out"]["train"] == {
        "the answer does not stand in the context": 1,
        "no answer": 1,
        "no context": 1,
        "no question": 1,
    }
    left_out = sum(sum(one.values()) for one in prepared.report["examples_left_out"].values())
    assert left_out == 1
    noted = prepared.report["noted"].values()
    assert sum(one.get("answer_start corrected", 0) for one in noted) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (30, r"squad.json row 30: the answer does not stand in the context"),
        (31, r"squad.json row 31: no answer"),
        (32, r"squad.json row 32: no context"),
        (33, r"squad.json row 33: no question"),
    ],
)
def test_bad_rows_are_refused_with_their_place(row, reason):
    with pytest.raises(DataError, match=reason):
        prepare(QuestionAnswering(**SMALL), Given(rows=bad_rows()), tokenizer("encoder"))
    prepare(QuestionAnswering(**SMALL), Given(rows=bad_rows()[:30]), tokenizer("encoder"))


def test_a_long_question_is_refused_with_its_place():
    rows = bad_rows()[:30] + bad_rows()[34:35]
    with pytest.raises(DataError, match=r"row \d+: the question leaves no room for its context"):
        prepare(QuestionAnswering(**SMALL), Given(rows=rows), tokenizer("encoder"))


def test_the_text_form_asks_and_answers():
    rows, reads = rows_for("encoder"), tokenizer("encoder")
    task = QuestionAnswering(answer_form="text_to_text", max_length=64)
    assert task.head_for("encoder_decoder") == "seq2seq_lm"
    made = task.features(ArrowRows.of(rows), facts("encoder_decoder"), reads)
    asked = [f"question: {row['question']} context: {row['context']}" for row in rows]
    whole = reads(asked)["input_ids"]
    cut = reads(asked, truncation=True, max_length=64)["input_ids"]
    assert examples(made) == cut
    assert made.truncated == sum(len(ids) > 64 for ids in whole) > 0
    said = [
        made.targets[a:b].tolist()
        for a, b in zip(made.target_offsets[:-1], made.target_offsets[1:], strict=True)
    ]
    assert said == reads([row["answers"]["text"][0] for row in rows])["input_ids"]
    counts = np.diff(made.target_offsets)
    outputs = Outputs(np.arange(len(rows)) / 10, counts, generated=said)
    found = task.answers(outputs, made, (), reads)
    assert list(found.texts) == reads.batch_decode(said, skip_special_tokens=True)
    assert found.texts[0] == rows[0]["answers"]["text"][0]
    np.testing.assert_allclose(found.losses, outputs.losses, rtol=1e-12)
    assert task.answers(Outputs(outputs.losses, counts), made, (), reads).texts is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generation": {"num_beams": 4}}, "has no effect without `answer_form: text_to_text`"),
        (
            {"answer_form": "text_to_text", "doc_stride": 4},
            "has no effect without `answer_form: span`",
        ),
        ({"doc_stride": 500}, "must be less than max_length"),
    ],
)
def test_settings_that_do_nothing_are_faults(settings, message):
    data = {"dataset": "synthetic"}
    task = {"task": "question_answering", "data": data, **settings}
    with pytest.raises(StudyError, match=message):
        load_study({"backbones": ["mini-bert"], "tasks": [task], "methods": ["full"]})


def test_the_text_form_is_refused_for_an_encoder():
    problems = QuestionAnswering(answer_form="text_to_text").problems("encoder")
    assert [one.path for one in problems] == ["answer_form"]
    assert QuestionAnswering().problems("encoder") == []


@pytest.mark.parametrize("form", ["span", "text_to_text"])
def test_settings_are_read_again_as_the_ledger_holds_them(form):
    task = QuestionAnswering(answer_form=form, max_length=200)
    assert QuestionAnswering(**task.model_dump(mode="json")) == task
