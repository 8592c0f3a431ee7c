"""Made splits and limits: proportions as scikit-learn's, and what its splits do not promise."""

import dataclasses

import numpy as np
import pytest

from tuneoff.data.scan import Scan
from tuneoff.data.splits import limited, made_splits
from tuneoff.data.text_keys import text_keys
from tuneoff.errors import DataError
from tuneoff.study import Split

NAMES = ["a", "b", "c"]


def scan(n=1000, weights=(0.6, 0.3, 0.1), seed=0, texts=None):
    codes = np.random.default_rng(seed).choice(3, size=n, p=weights).astype(np.int32)
    return Scan(text_keys([texts or [f"text {i}" for i in range(n)]]), codes, NAMES)


def counts(codes):
    return np.bincount(codes, minlength=3)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.15])
@pytest.mark.parametrize("n", [100, 1000, 997])
def test_proportions_are_those_of_sklearn(n, share):
    from sklearn.model_selection import StratifiedShuffleSplit

    whole = scan(n)
    splitter = StratifiedShuffleSplit(1, test_size=round(share * n), random_state=0)
    _, theirs = next(splitter.split(np.zeros(n), whole.codes))
    ours = made_splits(whole, Split(test=share), ["test"])
    assert len(ours["test"]) == len(theirs)
    assert np.abs(counts(whole.codes[ours["test"]]) - counts(whole.codes[theirs])).max() <= 1


def test_without_stratification_proportions_are_left_to_chance():
    whole = scan(1000)
    plain = [
        counts(
            whole.codes[
                made_splits(whole, Split(test=0.2, seed=seed, stratify=False), ["test"])["test"]
            ]
        )
        for seed in range(20)
    ]
    assert np.ptp(plain, axis=0).max() > 5
    assert all(one.sum() == 200 for one in plain)


def test_every_row_is_in_one_split():
    parts = made_splits(scan(), Split(validation=0.15, test=0.15), ["validation", "test"])
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 700,
        "validation": 150,
        "test": 150,
    }
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1000))
    for rows in parts.values():
        assert (np.diff(rows) > 0).all()


def test_only_what_is_missing_is_made():
    assert set(made_splits(scan(), Split(), ["validation"])) == {"train", "validation"}


def test_numbers_of_rows_may_be_given():
    parts = made_splits(scan(), Split(validation=37, test=100), ["validation", "test"])
    assert (len(parts["validation"]), len(parts["test"])) == (37, 100)


def test_the_draw_is_by_seed_and_not_by_the_order_of_rows():
    whole = scan()
    parts = made_splits(whole, Split(seed=4), ["test", "validation"])
    assert (
        parts["test"].tolist()
        == made_splits(whole, Split(seed=4), ["test", "validation"])["test"].tolist()
    )
    assert (
        parts["test"].tolist()
        != made_splits(whole, Split(seed=5), ["test", "validation"])["test"].tolist()
    )

    shuffled = np.random.default_rng(1).permutation(len(whole.keys))
    renamed = Scan(whole.keys[shuffled], 2 - whole.codes[shuffled], NAMES[::-1])
    again = made_splits(renamed, Split(seed=4), ["test", "validation"])
    for name, rows in parts.items():
        assert set(whole.keys[rows]) == set(renamed.keys[again[name]])


def test_equal_texts_are_never_parted():
    texts = [f"text {i % 400}" for i in range(1000)]
    whole = scan(texts=texts)
    parts = made_splits(whole, Split(test=0.2, validation=0.2), ["test", "validation"])
    keys = [set(whole.keys[rows]) for rows in parts.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 400
    assert len(parts["test"]) == pytest.approx(200, abs=6)
    # scikit-learn's split of the same rows does part them
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(1000), test_size=0.2, random_state=0)
    assert set(whole.keys[train]) & set(whole.keys[test])


def test_rare_classes_stay_in_train():
    codes = np.array([0] * 50 + [1] * 49 + [2], np.int32)
    whole = Scan(text_keys([[f"text {i}" for i in range(100)]]), codes, NAMES)
    for seed in range(10):
        parts = made_splits(
            whole, Split(test=0.4, validation=0.4, seed=seed), ["test", "validation"]
        )
        assert 2 in codes[parts["train"]]


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="too few"):
        made_splits(scan(2), Split(), ["test", "validation"])


def test_limits_are_stratified_and_nested():
    whole = scan()
    small, large = limited(whole, 100, Split()), limited(whole, 200, Split())
    assert (len(small), len(large)) == (100, 200)
    assert set(small) < set(large)
    assert np.abs(counts(whole.codes[small]) - counts(whole.codes) / 10).max() < 1
    assert limited(whole, None, Split()).tolist() == list(range(1000))
    assert limited(whole, 5000, Split()).tolist() == list(range(1000))
    assert set(limited(whole, 100, Split(seed=1))) != set(small)


def test_limit_of_repeated_texts_is_exact():
    assert len(limited(scan(texts=["same"] * 1000), 10, Split())) == 10


def test_rows_of_one_group_are_never_parted():
    """As questions about one paragraph: five rows each, of different texts."""
    whole = scan()
    groups = text_keys([[f"paragraph {i // 5}" for i in range(1000)]])
    grouped = dataclasses.replace(whole, groups=groups, codes=None)
    parts = made_splits(grouped, Split(test=0.2, validation=0.2), ["test", "validation"])
    found = [set(groups[rows]) for rows in parts.values()]
    assert sum(map(len, found)) == len(set.union(*found)) == 200
    assert sum(map(len, parts.values())) == 1000
    assert len(parts["test"]) == len(parts["validation"]) == 200
    by_row = made_splits(scan(), Split(test=0.2), ["test"])  # what is not grouped is parted
    assert set(groups[by_row["train"]]) & set(groups[by_row["test"]])


def test_few_large_groups_give_a_split_each():
    groups = text_keys([["a"] * 400 + ["b"] * 350 + ["c"] * 250])
    grouped = dataclasses.replace(scan(), groups=groups, codes=None)
    parts = made_splits(grouped, Split(test=0.1, validation=0.1), ["test", "validation"])
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 400, "test": 250, "validation": 350,
    }  # fmt: skip
    with pytest.raises(DataError, match="too few"):
        made_splits(dataclasses.replace(grouped, groups=groups[:1].repeat(1000)), Split(), ["test"])
