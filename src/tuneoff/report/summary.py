"""The words of the report: table rows and facts as text, for the page, Markdown and terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contents, Contest, Difference, MethodResult, Run
from tuneoff.report.data_facts import Fact
from tuneoff.report.plots.confusion import largest_confusions
from tuneoff.report.plots.rates import rate_curves

USES = {
    "best_quality": "Best quality",
    "best_balance": "Best balance",
    "least_memory": "Least memory",
    "fastest": "Fastest to train",
    "smallest_to_store": "Smallest to store",
}
CELLS = {
    "peak_memory_bytes": ("Peak memory", q.memory),
    "train_seconds": ("Training time", q.duration),
    "trainable_parameters": ("Trainable parameters", q.count),
    "adapter_bytes": ("Stored size", q.memory),
}


class Cost(NamedTuple):
    """One cost of a method, and how it stands to full fine-tuning."""

    name: str
    text: str
    versus_full: str


@dataclass(frozen=True)
class MethodRow:
    """One method in the results table; every field is text for people."""

    method: str
    badge: str
    """`best`, `tied`, or empty."""
    runs: str
    score: str
    interval: str
    versus_best: str
    versus_best_details: list[str]
    """Interval and p-value, as far as there are any."""
    versus_full: str
    versus_full_details: list[str]
    costs: tuple[Cost, ...]
    learning_rate: str
    others: tuple[tuple[str, str], ...]
    """Other metrics: name, and mean with standard deviation."""


def method_rows(contest: Contest) -> list[MethodRow]:
    """The results table, best first; methods without a result are its last rows."""
    return [_method_row(contest, result) for result in contest.ranked]


def _method_row(contest: Contest, result: MethodResult) -> MethodRow:
    metric, failed = contest.metric, max(result.n_failed, len(result.failures))
    is_best = result.method == contest.best
    tied = result.method in contest.tied_with_best and not is_best
    is_full = result is contest.full
    best, full = result.versus_best, result.versus_full
    return MethodRow(
        method=result.method,
        badge="best" if is_best else "tied" if tied else "",
        runs=f"{result.n} of {result.n + failed}" if failed else str(result.n),
        score=q.score(metric, result.mean),
        interval=q.score_interval(metric, result.interval),
        versus_best=""
        if is_best or not best
        else q.difference(metric, best.difference, unit=False),
        versus_best_details=[] if is_best else details(metric, best),
        versus_full=""
        if is_full or not full
        else q.difference(metric, full.difference, unit=False),
        versus_full_details=[] if is_full else details(metric, full),
        costs=costs(contest, result),
        learning_rate=q.rate(result.learning_rate),
        others=tuple(_other_metrics(contest, result)),
    )


def details(metric: str, difference: Difference | None) -> list[str]:
    """Interval and p-value of a difference, as far as there are any."""
    if difference is None:
        return []
    p = difference.p_corrected if difference.p_corrected is not None else difference.p
    parts = [q.difference_interval(metric, difference.interval), q.p_value(p)]
    return [part for part in parts if part]


def _other_metrics(contest: Contest, result: MethodResult) -> list[tuple[str, str]]:
    found = []
    for name, value in result.metrics.items():
        if name == contest.metric or not isinstance(value, dict):
            continue
        mean, sd = value.get("mean"), value.get("sd")
        if isinstance(mean, int | float):
            spread = f" ± {q.score(name, sd, unit=False)}" if isinstance(sd, int | float) else ""
            found.append((q.metric_name(name), f"{q.score(name, mean, unit=False)}{spread}"))
    return found


def costs(contest: Contest, result: MethodResult) -> tuple[Cost, ...]:
    """The four costs of the table."""
    full = contest.full
    compared = full if full is not None and full is not result else None
    return tuple(
        Cost(
            name,
            text(result.cost_of(key)),
            q.ratio(result.cost_of(key), compared.cost_of(key)) if compared else "",
        )
        for key, (name, text) in CELLS.items()
    )


def advice(contest: Contest) -> dict[str, str]:
    """The method advised for each of `USES`; empty where there is no answer."""
    found = {answer.use: answer.method or "" for answer in contest.answers}
    return {use: found.get(use, "") for use in USES}


class FailedRun(NamedTuple):
    """A run without a result, as the failures table shows it."""

    method: str
    seed: str
    status: str
    reason: str
    run_id: str


def failures(contest: Contest) -> list[FailedRun]:
    """Every run without a result: from the ledger, and what only the verdict knows."""
    rows = [
        FailedRun(
            run.method,
            "" if run.seed is None else str(run.seed),
            status_name(run.status),
            run.reason or "no reason was recorded",
            run.run_id,
        )
        for run in contest.failed
    ]
    known = {row.run_id for row in rows}
    rows += [
        FailedRun(
            result.method,
            "",
            status_name(failure.status),
            failure.reason or "no reason was recorded",
            failure.run_id,
        )
        for result in contest.methods
        for failure in result.failures
        if failure.run_id not in known
    ]
    return rows


def status_name(status: str) -> str:
    return status.replace("_", " ")


def versions(runs: list[Run]) -> list[Fact]:
    """Version of each part; several where runs differ, which a reader must know."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for name, version in (run.versions or {}).items():
            if str(version) not in found.setdefault(name, []):
                found[name].append(str(version))
    return [Fact(name, ", ".join(texts), len(texts) > 1) for name, texts in found.items()]


def edge_warnings(contest: Contest) -> list[str]:
    """Methods whose chosen rate is the lowest or highest that was tried."""
    return [
        f"{curve.method}: the chosen rate {q.rate(curve.chosen)} is at the edge of what was tried; "
        "a better one may lie outside."
        for curve in rate_curves(contest)
        if curve.at_edge
    ]


def confusions(contest: Contest) -> list[tuple[str, str]]:
    """The largest confusions of each method, in words."""
    found = [(r.method, "; ".join(largest_confusions(contest, r.method))) for r in contest.ranked]
    return [(method, text) for method, text in found if text]


def noise_sentence(contest: Contest) -> str:
    """The noise floor, or why there is none."""
    floor = contest.noise_floor
    if floor is None or (floor.value is None and not floor.sentence):
        return "Unknown: it takes at least two finished seeds of one method to measure it."
    if floor.sentence:
        return floor.sentence
    return f"{q.difference(contest.metric, floor.value).lstrip('+')} of {contest.metric}."


def progress(contents: Contents) -> str:
    """`21 of 24 runs finished; 1 diverged, 2 out of memory`. What the verdict does not count, being
    of other settings, data or code, stands apart."""
    runs = [run for contest in contents.contests for run in contest.runs if run.counted]
    apart = len(contents.runs) - len(runs)
    if not contents.runs:
        return "no run has finished yet"
    tally: dict[str, int] = {}
    for run in runs:
        tally[run.status] = tally.get(run.status, 0) + 1
    done = tally.pop("done", 0)
    rest = [f"{count} {status_name(status)}" for status, count in tally.items()]
    if apart:
        rest.append(f"{apart} of other settings, data or code not counted")
    return f"{done} of {len(runs)} runs finished" + (f"; {', '.join(rest)}" if rest else "")


def run_score(metric: str, run: Run, split: str) -> float | None:
    """A score of one run; None when it has none, or a table."""
    value = run.score(split, metric)
    return float(value) if isinstance(value, int | float) else None
