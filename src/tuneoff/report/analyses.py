"""Tables of what is measured beside the contest: inference, further test sets, and places between
the original and the trained model; as text for people."""

from __future__ import annotations

from typing import NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.between import between, metric_between
from tuneoff.report.contents import Contest, Shift
from tuneoff.report.summary import details


class InferenceRow(NamedTuple):
    """What inference costs with one method; every field is text for people."""

    method: str
    seconds: str
    """Of one example."""
    rate: str
    """Examples per second."""
    seconds_versus_full: str
    memory: str
    memory_versus_full: str


def inference_rows(contest: Contest) -> list[InferenceRow]:
    """Time and memory of inference per method, fastest first; empty where none was measured."""
    time, memory = "inference_seconds_per_example", "inference_peak_memory_bytes"
    known = [
        (result.cost_of(time), result.cost_of(memory), result)
        for result in contest.ranked
        if result.cost_of(time) or result.cost_of(memory)
    ]
    known.sort(key=lambda row: (row[0] is None, row[0] or 0.0))
    full = contest.full
    return [
        InferenceRow(
            result.method,
            q.duration(seconds),
            q.count(1 / seconds) if seconds else q.NOTHING,
            q.ratio(seconds, full.cost_of(time)) if full and full is not result else "",
            q.memory(held),
            q.ratio(held, full.cost_of(memory)) if full and full is not result else "",
        )
        for seconds, held, result in known
    ]


def between_rows(contest: Contest) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """The places between the original and the trained model, and per method the score and its
    interval at each; empty where the study does not ask for them."""
    lines, metric = between(contest), metric_between(contest)
    places = sorted({place.alpha for line in lines for place in line.places})
    rows = []
    for line in lines:
        known = {place.alpha: place for place in line.places}
        cells = [
            (
                q.score(metric, known[alpha].mean, unit=False),
                q.score_interval(metric, known[alpha].interval),
            )
            if alpha in known
            else (q.NOTHING, "")
            for alpha in places
        ]
        rows.append((line.method, cells))
    return [f"{place:g}" for place in places], rows


class ShiftRow(NamedTuple):
    """One method on a further test set, beside test; every field is text for people."""

    method: str
    test: str
    test_interval: str
    there: str
    interval: str
    change: str
    details: list[str]
    """Interval and p-value of the change, as far as there are any."""
    runs: str


def shift_rows(contest: Contest) -> list[tuple[Shift, list[ShiftRow]]]:
    """Each further test set with its methods, best on test first."""
    metric = contest.metric
    found = []
    for one in contest.shift:
        there = {result.method: result for result in one.methods}
        rows = [
            ShiftRow(
                main.method,
                q.score(metric, main.mean, unit=False),
                q.score_interval(metric, main.interval),
                q.score(metric, there[main.method].mean, unit=False),
                q.score_interval(metric, there[main.method].interval),
                q.difference(metric, change.difference if change else None, unit=False),
                details(metric, change),
                str(there[main.method].n),
            )
            for main in contest.ranked
            if main.method in there
            for change in [there[main.method].versus_test]
        ]
        found.append((one, rows))
    return found
