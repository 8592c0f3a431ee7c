"""Batches: the same everywhere, every example once, and micro-batches that only regroup."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff.data.batches import batch_count, batches, micro_batches, order


def philox(key, blocks):
    """Philox4x64-10 in plain Python. Source: Salmon et al. 2011, "Parallel random numbers"."""
    mask, words = 2**64 - 1, []
    for block in range(1, blocks + 1):  # numpy counts before it draws
        counter, keys = [block, 0, 0, 0], list(key)
        for _ in range(10):
            high = [
                (m * c) >> 64
                for m, c in zip((0xD2E7470EE14C6C93, 0xCA5A826395121157), counter[::2], strict=True)
            ]
            low = [
                (m * c) & mask
                for m, c in zip((0xD2E7470EE14C6C93, 0xCA5A826395121157), counter[::2], strict=True)
            ]
            counter = [
                high[1] ^ counter[1] ^ keys[0],
                low[1],
                high[0] ^ counter[3] ^ keys[1],
                low[0],
            ]
            keys = [
                (k + w) & mask
                for k, w in zip(keys, (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B), strict=True)
            ]
        words += counter
    return words


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (3, 1), (2**40, 7)])
def test_order_is_that_of_philox_words_wherever_it_runs(seed, epoch):
    words = philox((seed, epoch), 10)
    assert order(40, seed, epoch).tolist() == sorted(range(40), key=words.__getitem__)


@given(st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 1000))
def test_order_is_a_permutation(n, seed, epoch):
    assert sorted(order(n, seed, epoch).tolist()) == list(range(n))


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(order(50, seed, epoch)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400
    assert (order(50, 1, 2) != order(50, 2, 1)).any()


def test_order_is_fair():
    # Over many epochs each example stands in each place equally often (chi-squared, 1 in 10**5).
    from scipy.stats import chisquare

    places = np.stack([order(6, 0, epoch) for epoch in range(6000)])
    for place in range(6):
        assert chisquare(np.bincount(places[:, place], minlength=6)).pvalue > 1e-5


@pytest.mark.parametrize(("n", "size"), [(10, 4), (8, 4), (3, 16), (1, 1)])
def test_batches_hold_every_example_once_and_keep_the_last(n, size):
    parts = list(batches(n, size, seed=5, epoch=2))
    assert len(parts) == batch_count(n, size)
    assert np.concatenate(parts).tolist() == order(n, 5, 2).tolist()
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)


def test_batches_go_on_where_a_run_stopped():
    whole = [part.tolist() for part in batches(23, 4, seed=1, epoch=0)]
    assert [part.tolist() for part in batches(23, 4, seed=1, epoch=0, first=3)] == whole[3:]
    assert list(batches(23, 4, seed=1, epoch=0, first=6)) == []


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=50),
    st.one_of(st.none(), st.integers(1, 8)),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_micro_batches_regroup_and_keep_the_bounds(lengths, max_examples, max_tokens):
    lengths = np.array(lengths)
    indices = np.arange(len(lengths))[::-1].copy()
    parts = micro_batches(indices, lengths, max_examples, max_tokens)
    assert sorted(np.concatenate(parts).tolist()) == sorted(indices.tolist())
    flat = lengths[np.concatenate(parts)]
    assert (np.diff(flat) <= 0).all()  # longest first
    for part in parts:
        assert max_examples is None or len(part) <= max_examples
        assert max_tokens is None or len(part) == 1 or len(part) * lengths[part].max() <= max_tokens


def test_micro_batches_are_as_few_as_the_bound_allows():
    parts = micro_batches(np.arange(4), np.array([2, 10, 9, 1]), max_tokens=20)
    assert [part.tolist() for part in parts] == [[1, 2], [0, 3]]
    assert len(micro_batches(np.arange(4), np.array([2, 10, 9, 1]))) == 1


@pytest.mark.parametrize("bound", ["max_examples", "max_tokens"])
def test_a_bound_of_zero_is_refused(bound):
    with pytest.raises(ValueError, match=bound):
        micro_batches(np.arange(2), np.array([1, 1]), **{bound: 0})
