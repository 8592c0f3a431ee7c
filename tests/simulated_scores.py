"""Contests whose truth is known: how often is `tuneoff.statistics` right?

    python -m tests.simulated_scores 2000      # prints the table of docs/statistics.md

A run answers a test row rightly when a sum of normal parts exceeds a threshold: how hard the row
is (for all), how it suits the method, chance of this run and row, and how good a model the seed
made. The expected accuracy is then exact, and differences can be planted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from tuneoff.metrics import Predicted
from tuneoff.metrics.accuracy import Accuracy
from tuneoff.resampling import score_runs
from tuneoff.statistics import Comparison

HARD, SUITS, CHANCE = np.sqrt([0.7, 0.1, 0.2])
NORMAL = NormalDist()


def predicted(labels, predictions_RN, losses_RN, classes) -> list[Predicted]:
    """R runs on the same rows."""
    return [
        Predicted(losses=losses, labels=labels, predictions=predictions, classes=classes)
        for predictions, losses in zip(predictions_RN, losses_RN, strict=True)
    ]


class Case(NamedTuple):
    """Test rows, seeds per method, and per method: true accuracy and its spread over seeds."""

    rows: int
    seeds: int
    accuracies: Sequence[float]
    seed_sds: Sequence[float]

    def __str__(self) -> str:
        points = [f"{100 * value:g}" for value in dict.fromkeys(self.accuracies)]
        sds = [f"{100 * value:g}" for value in dict.fromkeys(self.seed_sds)]
        return (
            f"{len(self.accuracies)} | {self.seeds} | {self.rows} | {', '.join(points)} | "
            f"{', '.join(sds)}"
        )


class Rates(NamedTuple):
    """Shares of simulated contests."""

    false_untied: float
    """Some method as good as the selected best was called different from it."""
    covered_differences: float
    covered_means: float
    told_apart: float
    """Of the methods that are truly worse than the best, by comparison."""
    half_width: float
    """Mean half width of the 95 % interval of a difference."""


CASES = [
    Case(1000, 3, [0.9] * 2, [0.005] * 2),
    Case(1000, 3, [0.9] * 2, [0.02] * 2),
    Case(1000, 3, [0.9] * 7, [0.005] * 7),
    Case(1000, 3, [0.9] * 7, [0.02] * 7),
    Case(1000, 5, [0.9] * 7, [0.01] * 7),
    Case(2000, 3, [0.5] * 7, [0.01] * 7),
    Case(100, 3, [0.95] * 7, [0.01] * 7),
    Case(1000, 3, [0.9] * 7, [0.003] * 3 + [0.01] * 2 + [0.03] * 2),
    Case(5000, 3, [0.9] * 7, [0.003] * 6 + [0.03]),
    Case(2000, 3, [0.9] * 3 + [0.88] * 4, [0.004] * 7),
    Case(2000, 5, [0.9] * 3 + [0.88] * 4, [0.004] * 7),
    Case(2000, 3, [0.9] * 3 + [0.86] * 4, [0.007] * 7),
    Case(2000, 5, [0.9] * 3 + [0.86] * 4, [0.007] * 7),
]


def contest(case: Case, random: np.random.Generator) -> Comparison:
    hard = random.normal(size=case.rows)
    right = []
    for accuracy, seed_sd in zip(case.accuracies, case.seed_sds, strict=True):
        sd = seed_sd / NORMAL.pdf(NORMAL.inv_cdf(accuracy))
        threshold = NORMAL.inv_cdf(accuracy) * np.sqrt(1 + sd**2)
        suits = random.normal(size=case.rows)
        for _ in range(case.seeds):
            chance = random.normal(size=case.rows)
            level = threshold + sd * random.normal()
            right.append(level + HARD * hard + SUITS * suits + CHANCE * chance > 0)
    predictions_RN = np.array(right, np.int64)
    labels, losses = np.ones(case.rows, np.int64), np.zeros(predictions_RN.shape)
    scores = score_runs(Accuracy(), predicted(labels, predictions_RN, losses, ["wrong", "right"]))
    places = np.arange(len(right)).reshape(-1, case.seeds)
    return Comparison(scores, {f"m{index}": row for index, row in enumerate(places)})


def measure(case: Case, contests: int, seed: int = 0, level: float = 0.95) -> Rates:
    random = np.random.default_rng(seed)
    truth = {f"m{index}": accuracy for index, accuracy in enumerate(case.accuracies)}
    last = f"m{len(truth) - 1}"
    false, differences, means, told, widths = [], [], [], [], []
    for _ in range(contests):
        comparison = contest(case, random)
        best = comparison.best
        apart = {
            method: comparison.corrected_p(method, best) < 1 - level
            for method in truth
            if method != best
        }
        false.append(any(apart[method] for method in apart if truth[method] >= truth[best]))
        told += [apart[method] for method in apart if truth[method] < truth[best]]
        low, high = comparison.difference(last, "m0").interval(level)
        differences.append(low <= truth[last] - truth["m0"] <= high)
        widths.append((high - low) / 2)
        low, high = comparison.mean(last).interval(level)
        means.append(low <= truth[last] <= high)
    power = float(np.mean(told)) if told else float("nan")
    return Rates(*(float(np.mean(_)) for _ in (false, differences, means)), power, np.mean(widths))


def main(contests: int) -> None:
    columns = ["methods", "seeds", "rows", "accuracy", "seed sd", "false", "difference", "mean"]
    columns += ["told", "width"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n")
    for case in CASES:
        rates = measure(case, contests)
        shares = " | ".join("" if np.isnan(rate) else f"{100 * rate:.1f} %" for rate in rates[:4])
        sys.stdout.write(f"| {case} | {shares} | {100 * rates.half_width:.1f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
