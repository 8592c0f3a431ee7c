"""Quality between the original and the trained model, per method: what `evaluation.interpolation`
of a study measured, over seeds."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from scipy import special

from tuneoff.report.contents import Contest, Run


class Place(NamedTuple):
    """A method's test score at one place. interval: over seeds alone; None with one seed."""

    alpha: float
    mean: float
    interval: tuple[float, float] | None
    seeds: int


class Between(NamedTuple):
    """The places of one method, from the original model on."""

    method: str
    places: tuple[Place, ...]


def metric_between(contest: Contest) -> str:
    """The contest's metric; the loss where that one asks another model, which it did at the end
    alone."""
    measured = [_score(run, contest.metric) for run in contest.runs if run.interpolation]
    return contest.metric if any(measured) else "loss"


def between(contest: Contest) -> list[Between]:
    """Every method that was measured so, best first; empty where the study does not ask for it."""
    metric = metric_between(contest)
    found = []
    for result in contest.ranked:
        scores: dict[float, list[float]] = defaultdict(list)
        for run in contest.runs_of(result.method):
            for alpha, score in _score(run, metric).items():
                scores[alpha].append(score)
        if scores:
            places = [_place(a, own, contest.confidence_level) for a, own in scores.items()]
            found.append(Between(result.method, tuple(sorted(places))))
    return found


def _score(run: Run, metric: str) -> dict[float, float]:
    """Place -> test score."""
    found = {}
    for entry in run.interpolation or []:
        score = ((entry.get("metrics") or {}).get("test") or {}).get(metric)
        if isinstance(score, int | float):
            found[float(entry["alpha"])] = float(score)
    return found


def _place(alpha: float, scores: list[float], level: float) -> Place:
    """Student's interval of the mean."""
    mean, count = float(np.mean(scores)), len(scores)
    if count < 2:
        return Place(alpha, mean, None, count)
    quantile = float(special.stdtrit(count - 1, (1 + level) / 2))
    half = quantile * float(np.std(scores, ddof=1)) / count**0.5
    return Place(alpha, mean, (mean - half, mean + half), count)
