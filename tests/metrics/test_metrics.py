"""Every metric equals scikit-learn's, also where classes are missing; and can tell a change."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tuneoff import registry
from tuneoff.errors import TuneoffError
from tuneoff.metrics import Predicted, evaluate

CLASSES = ["a", "b", "c", "d"]
ORACLES = {
    "accuracy": sk.accuracy_score,
    "macro_f1": lambda y, p: sk.f1_score(y, p, average="macro", zero_division=0),
    "micro_f1": lambda y, p: sk.f1_score(y, p, average="micro", zero_division=0),
    "weighted_f1": lambda y, p: sk.f1_score(y, p, average="weighted", zero_division=0),
    "matthews": sk.matthews_corrcoef,
}


def scores(labels, predictions, names=tuple(ORACLES), losses=None, tokens=None):
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    losses = np.zeros(len(labels)) if losses is None else losses
    tokens = np.ones(len(losses), np.int64) if tokens is None else tokens
    return evaluate(
        names,
        Predicted(
            losses=losses, tokens=tokens, labels=labels, predictions=predictions, classes=CLASSES
        ),
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_scores_equal_sklearn(pairs):
    labels, predictions = map(np.array, zip(*pairs, strict=True))
    ours = scores(labels, predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, oracle in ORACLES.items():
            assert ours[name] == pytest.approx(oracle(labels, predictions), abs=1e-12), name


@pytest.mark.parametrize("name", ORACLES)
def test_one_changed_prediction_changes_the_score(name):
    labels = np.array([0, 1, 2, 3] * 5)
    changed = labels.copy()
    changed[0] = 1
    assert scores(labels, labels)[name] != scores(labels, changed)[name]


def test_macro_and_weighted_f1_differ_on_uneven_classes():
    labels, predictions = [0] * 9 + [1], [0] * 10
    found = scores(labels, predictions)
    assert found["macro_f1"] < found["weighted_f1"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_tables_equal_sklearn(pairs):
    labels, predictions = map(np.array, zip(*pairs, strict=True))
    ours = scores(labels, predictions, ["confusion_matrix", "per_class"])
    expected = sk.confusion_matrix(labels, predictions, labels=range(4))
    assert ours["confusion_matrix"] == expected.tolist()
    columns = sk.precision_recall_fscore_support(
        labels, predictions, labels=range(4), zero_division=0
    )
    for index, name in enumerate(CLASSES):
        found = ours["per_class"][name]
        got = [found[key] for key in ("precision", "recall", "f1", "support")]
        assert got == pytest.approx([column[index] for column in columns], abs=1e-12)


def test_matthews_of_many_rows_does_not_overflow():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 200_000)
    predictions = np.where(random.random(200_000) < 0.7, labels, 0)
    expected = sk.matthews_corrcoef(labels, predictions)
    assert scores(labels, predictions)["matthews"] == pytest.approx(expected, abs=1e-9)


def test_perplexity_weighs_tokens_not_sequences():
    losses, tokens = np.array([2.0, 1.0]), np.array([2, 6])  # a short text and a long one
    found = scores([0, 0], [0, 0], ["perplexity", "loss"], losses, tokens)
    assert found["loss"] == pytest.approx(10 / 8)
    assert found["perplexity"] == pytest.approx(np.exp(10 / 8))
    assert found["perplexity"] != pytest.approx(np.exp((2.0 + 1.0) / 2))


def test_perplexity_of_a_huge_loss_is_infinite():
    assert scores([0], [0], ["perplexity"], np.array([1e4]))["perplexity"] == np.inf


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_every_metric_keeps_its_contract(name):
    """What `per_example`, `counted`, `bounds` promise is so; found by the registry."""
    metric = registry.get("metrics", name)()
    random = np.random.default_rng(1)
    labels, predictions = random.integers(0, 4, (2, 50))
    words = [[f"word{index % 7} and {index % 3}", "another one"] for index in range(50)]
    rows = Predicted(
        losses=random.exponential(size=50),
        tokens=random.integers(1, 9, 50),
        labels=labels,
        predictions=predictions,
        classes=CLASSES,
        texts=[f"word{index % 5} and {index % 4}" for index in range(50)],
        references=words,
        prompts=["say something"] * 50,
    )
    assert metric.per_example + metric.counted + metric.summed <= 1
    if reasons := metric.problems():  # a judge wants a model
        with pytest.raises(TuneoffError, match=re.escape(reasons[0])):
            metric.score(rows)
        return
    score = metric.score(rows)
    if not isinstance(score, float):
        return
    assert metric.bounds[0] <= score <= metric.bounds[1]
    if metric.per_example:
        mean = metric.values(rows).mean(keepdims=True)
        assert metric.from_mean(mean)[0] == pytest.approx(score, abs=1e-12)
    if metric.counted:
        counts = sk.confusion_matrix(labels, predictions, labels=range(4))
        twice = metric.from_counts(np.stack([counts, 2 * counts]))
        assert twice == pytest.approx([score, score], abs=1e-12)
    if metric.summed:
        table = metric.statistics(rows)
        assert table.shape[0] == 50
        assert metric.from_sums(table.sum(0)[None])[0] == pytest.approx(score, abs=1e-12)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(TuneoffError, match="did you mean 'macro_f1'"):
        scores([0], [0], ["macro_f"])
