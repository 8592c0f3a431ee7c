"""The built-in rows: the same everywhere, balanced, and with nothing of test in train."""

import json
from collections import Counter
from hashlib import sha256

import pytest

from tuneoff.datasets.synthetic_rows import LABELS, NOISE, SPLITS, generate, owner

PINNED = {
    "train": "c6a25b6a08df02c7",
    "validation": "0f8f1d9c8f980e97",
    "test": "c67e82bd80c04632",
}


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_the_same_on_every_machine(split):
    rows = generate(300, seed=0, split=split)
    assert sha256(json.dumps(rows).encode()).hexdigest()[:16] == PINNED[split]
    assert rows == generate(300, seed=0, split=split)


def test_another_seed_gives_other_rows():
    assert generate(50, seed=0) != generate(50, seed=1)


@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_balanced_up_to_noise(split):
    rows = generate(1000, seed=0, split=split)
    counts = Counter(row["label"] for row in rows)
    assert set(counts) == set(LABELS)
    assert all(abs(count - 200) <= 1000 * NOISE for count in counts.values())


def test_no_text_is_in_two_splits_whatever_the_seeds():
    texts = {
        split: {row["text"] for seed in range(3) for row in generate(500, seed, split)}
        for split in SPLITS
    }
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert all(owner(text) == split for split in SPLITS for text in texts[split])


@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_exactly_n_rows(n):
    assert len(generate(n, seed=0)) == n


def test_a_split_has_no_text_twice():
    texts = [row["text"] for row in generate(2000, seed=0)]
    assert len(set(texts)) == 2000


def test_train_never_shows_the_words_kept_for_the_other_splits():
    words = {word for row in generate(1500, seed=0) for word in row["text"].lower().split()}
    assert not words & {"dinner", "vicar", "charming", "miserable", "exquisite", "tedious"}
    tested = {
        word for row in generate(500, seed=0, split="test") for word in row["text"].lower().split()
    }
    assert {"dinner", "vicar"} <= tested


@pytest.mark.parametrize(("n", "split"), [(-1, "train"), (1, "dev")])
def test_wrong_arguments_are_refused(n, split):
    with pytest.raises(ValueError, match="must"):
        generate(n, seed=0, split=split)
