"""The search for each method's learning rate: as many short runs for every method.

Each method is probed over its own grid, on the validation split, with a seed that no reported run
has. Comparing methods at one shared rate is the classic mistake: arXiv 2602.04998 finds that LoRA's
variants, each at its own rate, all peak within 1 to 2 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuneoff import registry
from tuneoff.fit import Inspect, head_of, shape
from tuneoff.runs import Contest, RunSpec, contests, with_rate
from tuneoff.study import Study, Training, Tuning


@dataclass(frozen=True)
class Choice:
    """The learning rate that probes chose.

    curve: (rate, validation score or None where the probe failed or was stopped at a rung), by
    rate; at_edge: the best rate is the lowest or highest that was tried, so that a better one may
    lie beyond.
    """

    rate: float
    curve: tuple[tuple[float, float | None], ...]
    at_edge: bool


class Score(NamedTuple):
    """A probe on the validation split; less is better. rows: of the split."""

    value: float
    loss: float
    rate: float
    rows: int


def expand_probes(study: Study, inspect: Inspect = shape) -> list[RunSpec]:
    """The probes: `tuning.probes` for every method whose rate the study does not give."""
    if study.tuning.probes == 0:
        return []
    found = []
    for run in contests(study, inspect):
        if run.rate_from == "study":
            continue
        kind = inspect(run.backbone, head_of(run.backbone, run.task)).kind
        rates = run.method.settings.own_rates(kind)
        training = shortened(run.training, study.tuning)
        probe = run.model_copy(
            update={"kind": "probe", "seed": study.tuning.seed, "training": training}
        )
        for rate in probed_rates(rates.default, rates.grid, study.tuning.probes):
            found.append(with_rate(probe, rate, "grid"))
    return found


def probed_rates(default: float, grid: tuple[float, ...], count: int) -> list[float]:
    """`count` rates over the whole grid, ascending.

    Fewer than the grid has: evenly spaced over it, both ends included (one: the default). More: the
    widest gap, in ratio, is halved until there are enough.
    """
    rates = sorted(grid)
    if count == 1:
        return [default]
    if count <= len(rates):
        step = (len(rates) - 1) / (count - 1)
        return [rates[round(index * step)] for index in range(count)]
    if len(rates) == 1:
        rates = [rates[0] / 3, rates[0], rates[0] * 3][:count]
    while len(rates) < count:
        gap = max(range(len(rates) - 1), key=lambda index: rates[index + 1] / rates[index])
        rates.insert(gap + 1, math.sqrt(rates[gap] * rates[gap + 1]))
    return rates


def shortened(training: Training, tuning: Tuning) -> Training:
    """A probe's training: the same schedule over `tuning.share` of the steps."""
    if training.max_steps is not None:
        return training.model_copy(
            update={"max_steps": max(1, round(training.max_steps * tuning.share))}
        )
    return training.model_copy(update={"epochs": training.epochs * tuning.share})


def choose_rates(study: Study, rows: Iterable[Mapping[str, Any]]) -> dict[Contest, Choice]:
    """The best rate per contest from lines of `probes.jsonl`, by the metric that chooses on
    the validation split (`TaskSpec.selection_metric`).

    Scores within one standard error of the best (of a share of the validation rows) count as ties:
    in a short probe several rates may still answer the largest class, and a row more or less says
    nothing. Ties go to the lower validation loss, then to the lower rate. Probes that were stopped
    at a rung (`halving.py`) are not compared with those that came to their end. A contest without
    one that did is left out: its method keeps its default rate.
    """
    metric = {
        (backbone.name, task.name): task.selection_metric(head_of(backbone, task))
        for backbone in study.backbones
        for task in study.tasks
    }
    tried: dict[Contest, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "probe" and (row["backbone"], row["task"]) in metric:
            contest = Contest(row["backbone"], row["task"], row["method"])
            tried.setdefault(contest, []).append(row)
    choices = {}
    for contest, probes in tried.items():
        name = metric[contest.backbone, contest.task]
        choice = _choice(probes, name)
        if choice is not None:
            choices[contest] = choice
    return choices


def _choice(probes: list[Mapping[str, Any]], metric: str) -> Choice | None:
    scored = []
    curve: dict[float, float | None] = {}
    for probe in probes:
        rate = float(probe["learning_rate"])
        curve[rate] = None
        if probe["status"] == "done":
            values = probe["metrics"]["validation"]
            curve[rate] = values[metric]
            scored.append(score_of(probe, values, metric))
    if not scored:
        return None
    best = leader(scored).rate
    rates = sorted(curve)
    edge = len(rates) > 1 and best in (rates[0], rates[-1])
    return Choice(best, tuple((rate, curve[rate]) for rate in rates), edge)


def score_of(probe: Mapping[str, Any], values: Mapping[str, Any], metric: str) -> Score:
    """How a probe stands with these scores on the validation split; what is not finite (null in
    its line) is worst."""
    sign = -1.0 if registry.get("metrics", metric).higher_is_better else 1.0
    value, loss = values[metric], values.get("loss", 0.0)
    data = probe.get("data") or {}
    return Score(
        math.inf if value is None else sign * value,
        math.inf if loss is None else loss,
        float(probe["learning_rate"]),
        (data.get("rows") or data).get("validation", 0),
    )


def leader(scores: Iterable[Score]) -> Score:
    """The best: of those within one standard error of the best value, the one of lowest loss, then
    of lowest rate."""
    found = list(scores)
    top = min(found)
    near = top.value + _standard_error(abs(top.value), top.rows)
    return min((one for one in found if one.value <= near), key=lambda one: (one.loss, one.rate))


def _standard_error(share: float, rows: int) -> float:
    """Of a share of so many rows; 0 for scores that are no shares."""
    return math.sqrt(share * (1 - share) / rows) if rows and 0 <= share <= 1 else 0.0
