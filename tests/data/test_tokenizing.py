"""Bulk token ids: those that the tokenizer gives row by row, for each tokenizer and real texts."""

import pytest

from tests.data.tokenizers import ALL, real_rows, tokenizer
from tuneoff.data import tokenizing
from tuneoff.data.tokenizing import check_length, tokenize
from tuneoff.errors import DataError

TEXTS = [
    "A very good film!",
    "bad",
    " not  very\tgood ",
    "the film was not good, and not bad. " * 20,
    "é日😀",
    "[SEP] x",
]
PAIRS = ["was it?", "the plot " * 60, "it", "good", "the " * 200, "."]


def one_by_one(made_by, texts, pairs, max_length):
    cut = {} if max_length is None else {"truncation": True, "max_length": max_length}
    calls = zip(texts, pairs or [None] * len(texts), strict=True)
    return [made_by(text, pair, **cut) for text, pair in calls]


def check(made_by, texts, pairs, max_length):
    ours = tokenize(made_by, texts, pairs, max_length=max_length)
    theirs = one_by_one(made_by, texts, pairs, max_length)
    assert ours.ids == [row["input_ids"] for row in theirs]
    if "token_type_ids" in made_by.model_input_names:
        assert ours.types == [row["token_type_ids"] for row in theirs]
    whole = one_by_one(made_by, texts, pairs, None)
    longer = [len(a["input_ids"]) < len(b["input_ids"]) for a, b in zip(theirs, whole, strict=True)]
    assert ours.truncated == sum(longer)
    return ours


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("max_length", [None, 8, 16, 64])
@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_equal_to_the_tokenizer_row_by_row(name, max_length, pairs):
    ours = check(tokenizer(name), TEXTS, pairs, max_length)
    assert (ours.truncated > 0) == (max_length is not None)


@pytest.mark.parametrize("name", ALL)
def test_a_shorter_length_gives_other_ids(name):
    made_by = tokenizer(name)
    assert tokenize(made_by, TEXTS, max_length=8).ids != tokenize(made_by, TEXTS, max_length=9).ids


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("dataset", "columns"),
    [
        ("sst5", ["text"]),
        ("imdb", ["text"]),
        ("quora", ["question1", "question2"]),
        ("amazon", ["title", "content"]),
    ],
)
def test_equal_on_real_texts(name, dataset, columns):
    rows = real_rows(dataset, "test", 150)
    texts, *pairs = [[row[column] for row in rows] for column in columns]
    check(tokenizer(name), texts, pairs[0] if pairs else None, 64)


def test_pieces_of_a_large_batch_stand_in_order(monkeypatch):
    whole = tokenize(tokenizer("encoder"), TEXTS, PAIRS, max_length=16)
    monkeypatch.setattr(tokenizing, "_CHARACTERS", 40)
    assert tokenize(tokenizer("encoder"), TEXTS, PAIRS, max_length=16) == whole
    assert tokenize(tokenizer("encoder"), [], max_length=16).ids == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_own_side_of_truncation_holds(side, monkeypatch):
    made_by = tokenizer("decoder")
    monkeypatch.setattr(made_by, "truncation_side", side)
    check(made_by, TEXTS, None, 6)


def test_no_state_is_left_behind():
    made_by = tokenizer("encoder")
    made_by(TEXTS, truncation=True, max_length=12)
    made_by.backend_tokenizer.enable_padding()
    ours = tokenize(made_by, TEXTS, max_length=None)
    assert ours.ids == made_by(TEXTS)["input_ids"]


class Slow:
    """The part of a slow tokenizer's interface that is used, over a fast one."""

    is_fast = False
    model_input_names = ("input_ids", "token_type_ids")

    def __call__(self, *arguments, **options):
        return tokenizer("encoder")(*arguments, **options)


@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_slow_tokenizers_count_what_they_cut_too(pairs):
    fast = tokenize(tokenizer("encoder"), TEXTS, pairs, max_length=16)
    assert tokenize(Slow(), TEXTS, pairs, max_length=16) == fast


def test_a_length_that_the_model_cannot_take_is_refused(monkeypatch):
    made_by = tokenizer("encoder")
    check_length(made_by, 100_000)
    monkeypatch.setattr(made_by, "model_max_length", 512)
    check_length(made_by, 512)
    with pytest.raises(DataError, match=r"513 .* 512 tokens .* set max_length to 512"):
        check_length(made_by, 513)
