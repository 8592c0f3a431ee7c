"""Intervals, p-values and ties against scipy, scikit-learn and naive loops; then simulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from tests.simulated_scores import CASES, Case, contest, measure, predicted
from tuneoff.errors import TuneoffError
from tuneoff.metrics import Metric
from tuneoff.metrics.accuracy import Accuracy
from tuneoff.metrics.confusion_matrix import ConfusionMatrix
from tuneoff.metrics.loss import Loss
from tuneoff.metrics.macro_f1 import MacroF1
from tuneoff.metrics.perplexity import Perplexity
from tuneoff.resampling import RunScores, _resampled_counts, _weights, score_runs
from tuneoff.statistics import Comparison, Estimate, holm

CLASSES = ["a", "b", "c"]


def columns(runs=6, rows=400, seed=0, quality=0.8):
    """labels (N,), predictions (R, N) that err on the same rows more often than not, losses."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    hard = random.random(rows)
    wrong = (hard + 0.3 * random.random((runs, rows))) / 1.3 > quality
    predictions = np.where(wrong, (labels + 1) % 3, labels)
    return labels, predictions, random.exponential(size=(runs, rows)) + 4 * hard


def naive_bootstrap(metric, labels, predictions, losses, resamples=3000):
    random = np.random.default_rng(5)
    scores = []
    for _ in range(resamples):
        rows = random.integers(0, len(labels), len(labels))
        scores.append(
            [
                metric.score(run)
                for run in predicted(labels[rows], predictions[:, rows], losses[:, rows], CLASSES)
            ]
        )
    return np.cov(np.array(scores).T)


@pytest.mark.parametrize("metric", [Accuracy(), Loss(), Perplexity(), MacroF1()])
def test_covariance_equals_a_naive_bootstrap_of_rows(metric):
    data = columns(runs=3, rows=300)
    ours = score_runs(metric, predicted(*data, CLASSES))
    expected = [metric.score(run) for run in predicted(*data, CLASSES)]
    assert ours.values == pytest.approx(expected)
    naive = naive_bootstrap(metric, *data, resamples=1000)
    scale = np.sqrt(np.outer(np.diag(naive), np.diag(naive)))
    assert np.abs(ours.covariance - naive).max() < 0.2 * scale.max()
    correlation = ours.covariance[0, 1] / ours.covariance[0, 0]
    assert correlation > 0.3  # the pairing by row is there to be lost


def test_resampled_macro_f1_equals_sklearn_on_the_same_rows():
    labels, predictions, losses = columns(runs=2, rows=60)
    runs = predicted(labels, predictions, losses, CLASSES)
    groups = np.arange(60)
    ours = _resampled_counts(MacroF1(), runs, groups, np.random.default_rng(7))
    random = np.random.default_rng(7)
    for index in range(20):
        rows = np.repeat(np.arange(60), _weights(groups, 60, random))
        expected = [f1_score(labels[rows], p[rows], average="macro") for p in predictions]
        assert ours[index] == pytest.approx(expected, abs=1e-12)


def test_statistics_repeat_themselves():
    data = columns()
    first, second = (score_runs(MacroF1(), predicted(*data, CLASSES)).covariance for _ in range(2))
    assert np.array_equal(first, second)


def test_groups_are_drawn_together():
    """Each row twice is no new evidence, when the pair is one group; else it seems to be."""
    labels, predictions, losses = columns()
    once = score_runs(Loss(), predicted(labels, predictions, losses, CLASSES))
    twice = (np.repeat(labels, 2), np.repeat(predictions, 2, 1), np.repeat(losses, 2, 1), CLASSES)
    grouped = score_runs(Loss(), predicted(*twice), groups=np.repeat(np.arange(len(labels)), 2))
    assert grouped.covariance == pytest.approx(once.covariance, rel=1e-12)
    assert grouped.rows == len(labels)
    apart = score_runs(Loss(), predicted(*twice))
    assert apart.covariance == pytest.approx(once.covariance / 2, rel=0.01)


class Plain(Metric):
    """A plug-in that defines `score` alone."""

    def score(self, rows):
        return f1_score(rows.labels, rows.predictions, average="macro")


def test_a_metric_with_score_alone_works_and_a_table_is_refused():
    data = columns(runs=2, rows=200)
    plain, counted = (score_runs(m, predicted(*data, CLASSES)) for m in (Plain(), MacroF1()))
    assert plain.values == pytest.approx(counted.values)
    assert np.diag(plain.covariance) == pytest.approx(np.diag(counted.covariance), rel=0.4)
    with pytest.raises(TuneoffError, match="gives a table"):
        score_runs(ConfusionMatrix(), predicted(*data, CLASSES))
    with pytest.raises(TuneoffError, match="at least 2 test rows"):
        score_runs(Accuracy(), predicted(data[0][:1], data[1][:, :1], data[2][:, :1], CLASSES))


def test_one_seed_each_is_the_paired_t_test_over_rows():
    labels, predictions, losses = columns(runs=2)
    comparison = Comparison(
        score_runs(Loss(), predicted(labels, predictions, losses, CLASSES)), {"a": [0], "b": [1]}
    )
    ours = comparison.difference("a", "b")
    oracle = stats.ttest_rel(losses[0], losses[1])
    assert ours.p == pytest.approx(oracle.pvalue, rel=1e-4)
    assert ours.interval(0.9) == pytest.approx(tuple(oracle.confidence_interval(0.9)), rel=1e-9)
    assert ours.p != pytest.approx(stats.ttest_ind(losses[0], losses[1]).pvalue, rel=1e-2)
    assert not comparison.seeds_measured
    assert comparison.noise_floor(0.95) is None


def test_with_rows_that_do_not_matter_a_mean_is_the_t_interval_over_seeds():
    scores = np.array([0.3, 0.34, 0.29])
    comparison = Comparison(RunScores(scores, np.zeros((3, 3)), 100), {"a": [0, 1, 2]})
    low, high = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
    assert comparison.mean("a").interval(0.95) == pytest.approx((low, high))
    floor = stats.t.ppf(0.975, 2) * np.sqrt(2 / 3) * scores.std(ddof=1)
    assert comparison.noise_floor(0.95) == pytest.approx(floor)


def test_error_agrees_with_a_two_way_bootstrap():
    """Seeds and rows resampled together count chance of run and row twice: a little wider."""
    case = Case(500, 20, [0.8, 0.8], [0.02, 0.02])
    random = np.random.default_rng(3)
    ratios = []
    for _ in range(5):
        comparison = contest(case, random)
        estimate = comparison.difference("m0", "m1")
        ratios.append((estimate.by_rows + estimate.by_seeds) ** 0.5 / _two_way(case, random))
    assert 0.75 < np.mean(ratios) < 1.1


def _two_way(case, random):
    """Standard error of a difference by the pigeonhole bootstrap, on a contest of its own."""
    seeds, rows = case.seeds, case.rows
    hard, right = random.normal(size=rows), []
    for _ in range(2):
        suits, level = random.normal(size=rows), 0.8416 + 0.0714 * random.normal(size=(seeds, 1))
        chance = random.normal(size=(seeds, rows))
        right.append(level + 0.7**0.5 * hard + 0.1**0.5 * suits + 0.2**0.5 * chance > 0)
    draws = []
    for _ in range(300):
        chosen = random.integers(0, rows, rows)
        means = [run[random.integers(0, seeds, seeds)][:, chosen].mean() for run in right]
        draws.append(means[0] - means[1])
    return np.std(draws)


@given(
    st.floats(-0.2, 0.2),
    st.floats(1e-8, 1e-3),
    st.floats(0, 1e-3),
    st.floats(1.5, 40),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
@settings(max_examples=150, deadline=None)
def test_p_is_small_exactly_when_the_interval_leaves_zero_out(value, rows, seeds, df, level):
    estimate = Estimate(value, rows, 500, seeds, df)
    low, high = estimate.interval(level)
    if abs(estimate.p - (1 - level)) > 1e-4:
        assert (estimate.p < 1 - level) == (not low <= 0 <= high)


def test_holm_by_hand_and_against_bonferroni():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
    assert holm([0.01, 0.02])[1] < 2 * 0.02


def test_a_large_difference_is_told_apart_and_none_is_a_tie():
    random = np.random.default_rng(0)
    far = contest(Case(2000, 5, [0.9, 0.9, 0.7], [0.004] * 3), random)
    assert far.best in ("m0", "m1")
    assert far.corrected_p("m2", far.best) < 0.001
    assert far.corrected_p("m0", "m1") > 0.05
    assert far.corrected_p("m0", "m0") == 1.0


def test_identical_runs_on_few_rows_are_a_tie_with_an_open_interval():
    labels, predictions, losses = columns(runs=1, rows=50)
    data = (labels, np.repeat(predictions, 4, 0), np.repeat(losses, 4, 0), CLASSES)
    comparison = Comparison(score_runs(Accuracy(), predicted(*data)), {"a": [0, 1], "b": [2, 3]})
    low, high = comparison.difference("a", "b").interval(0.95)
    assert low < -0.02
    assert high > 0.02
    assert comparison.difference("a", "b").p == 1.0


def test_lower_is_better_where_the_metric_says_so():
    labels, predictions, losses = columns(runs=4)
    losses[:2] += 1
    runs = {"a": [0, 1], "b": [2, 3]}
    assert (
        Comparison(score_runs(Loss(), predicted(labels, predictions, losses, CLASSES)), runs).best
        == "b"
    )
    losses[:2] -= 2
    assert (
        Comparison(score_runs(Loss(), predicted(labels, predictions, losses, CLASSES)), runs).best
        == "a"
    )


def test_a_lone_run_borrows_the_spread_of_the_others():
    values = np.array([0.5, 0.6, 0.4, 0.5])
    alone = Comparison(RunScores(values, np.eye(4) * 1e-6, 1000), {"a": [0, 1, 2], "b": [3]})
    known = Comparison(RunScores(values, np.eye(4) * 1e-6, 1000), {"b": [3]})
    assert alone.mean("b").half_width(0.05) > 10 * known.mean("b").half_width(0.05)


def test_seeds_needed_shrinks_with_the_difference_and_may_be_hopeless():
    def build(gap, rows=1e-6):
        values = np.array([0.80, 0.81, 0.79]) + np.array([[0.0], [gap]])
        return Comparison(
            RunScores(values.ravel(), np.eye(6) * rows, 1000, (0, 1)),
            {"a": [0, 1, 2], "b": [3, 4, 5]},
        )

    near, far = (build(gap).seeds_needed("a", "b", 0.95) for gap in (0.01, 0.02))
    assert near is not None
    assert far is not None
    assert near["a"] > far["a"] >= 3
    assert build(0.0).seeds_needed("a", "b", 0.95) is None
    assert build(0.2).seeds_needed("a", "b", 0.95) == {"a": 3, "b": 3}

    rows = build(0.04, rows=1e-3).rows_needed("a", "b", 0.95)
    assert rows is not None
    grown = build(0.04, rows=1e-3 * 1000 / rows).difference("a", "b")
    assert grown.p == pytest.approx(0.05, rel=0.05)
    assert build(0.01).rows_needed("a", "b", 0.95) is None


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_simulated_contests_keep_their_promises(case):
    """400 contests; limits leave room for three standard errors of 5 %."""
    rates = measure(case, 400)
    assert rates.false_untied < 0.05 + 0.033
    unequal = len(set(case.seed_sds)) > 1
    assert rates.covered_differences > (0.85 if unequal else 0.95 - 0.033)
    assert rates.covered_means > (0.85 if unequal else 0.95 - 0.033)


@pytest.mark.slow
def test_the_simulation_catches_a_test_that_ignores_seeds():
    """Negative control: rows alone, as most published comparisons have it, fail the promise."""
    random, false = np.random.default_rng(0), 0
    for _ in range(200):
        comparison = contest(Case(1000, 3, [0.9] * 7, [0.02] * 7), random)
        single = Comparison(comparison.scores, {str(m): [3 * m] for m in range(7)})
        false += any(single.corrected_p(str(m), single.best) < 0.05 for m in range(7))
    assert false > 40
