"""Quality on further test sets, whose rows are of another kind, beside the main one: per method its
mean there, and the change from the test split, run by run.

The rows of the two sets are drawn apart, so that their parts of the variance add; the runs are the
same, so that a seed which is better on both does not blur the change between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tuneoff.contests import Contest, Entry, by_row, predicted
from tuneoff.datasets import SHIFT
from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger, Record
from tuneoff.resampling import RunScores, score_runs
from tuneoff.statistics import Comparison

Columns = dict[str, np.ndarray]


def shifted(ledger: Ledger, contest: Contest, level: float) -> list[dict[str, Any]]:
    """Each further test set of a contest in the form of `verdict.json`; empty where there is
    none, or nothing finished."""
    if contest.comparison is None:
        return []
    runs = [run for entry in contest.entries for run in entry.runs]
    names = dict.fromkeys(name for run in runs for name in run["metrics"])
    found = [_set(ledger, contest, name, level) for name in names if name.startswith(SHIFT)]
    return [one for one in found if one["methods"]]


def _set(ledger: Ledger, contest: Contest, split: str, level: float) -> dict[str, Any]:
    columns: dict[str, Columns] = {}
    notes: list[str] = []
    for entry in contest.entries:
        for run in entry.runs:
            column = _columns(ledger, contest, split, run, columns, notes)
            if column is not None:
                columns[run["run_id"]] = column
    size = len(next(iter(columns.values()))["row"]) if columns else 0
    entries = [e for e in contest.entries if any(run["run_id"] in columns for run in e.runs)]
    result = {"name": split.removeprefix(SHIFT), "n_test": size, "notes": notes}
    if size < 2:  # of one row nothing can be said
        return result | {"methods": []}
    there, change, kept = _compared(contest, entries, columns)
    return result | {
        "methods": [_row(contest, e, split, there, change, kept[e.label], level) for e in entries]
    }


def _columns(
    ledger: Ledger,
    contest: Contest,
    split: str,
    run: Record,
    known: Mapping[str, Columns],
    notes: list[str],
) -> Columns | None:
    """A run's answers there, in order of the rows; None, and why, where they cannot be used."""
    score = (run["metrics"].get(split) or {}).get(contest.metric_name)
    if not isinstance(score, int | float):
        notes.append(f"run {run['run_id']} has no {contest.metric_name} on {split}; left out")
        return None
    try:
        column = by_row(ledger, run["run_id"], split)
    except LedgerError as error:
        notes.append(str(error))
        return None
    other = next(iter(known.values()), column)
    if not np.array_equal(column["row"], other["row"]):
        notes.append(f"run {run['run_id']} has other rows of {split}; left out")
        return None
    return column


def _compared(
    contest: Contest, entries: list[Entry], columns: Mapping[str, Columns]
) -> tuple[Comparison, Comparison, dict[str, list[int]]]:
    """The methods there, the change from test, and by method which of its runs are in both."""
    assert contest.comparison is not None
    main = contest.comparison
    name, classes = contest.metric_name, contest.classes
    scores = score_runs(
        contest.metric, [predicted(one, name, classes) for one in columns.values()], name
    )
    place = {run_id: index for index, run_id in enumerate(columns)}
    kept = {
        entry.label: [i for i, run in enumerate(entry.runs) if run["run_id"] in place]
        for entry in entries
    }
    runs = {e.label: [place[e.runs[i]["run_id"]] for i in kept[e.label]] for e in entries}
    where = np.zeros(len(place), np.int64)  # of each run there, its place among the main scores
    for entry in entries:
        where[runs[entry.label]] = main.runs[entry.label][kept[entry.label]]
    low, high = scores.bounds
    change = RunScores(
        scores.values - main.scores.values[where],
        scores.covariance + main.scores.covariance[np.ix_(where, where)],
        min(scores.rows, main.scores.rows),
        (low - high, high - low),
        scores.higher_is_better,
    )
    return Comparison(scores, runs), Comparison(change, runs), kept


def _row(
    contest: Contest,
    entry: Entry,
    split: str,
    there: Comparison,
    change: Comparison,
    kept: list[int],
    level: float,
) -> dict[str, Any]:
    """One method there."""
    runs = [entry.runs[i] for i in kept]
    mean, difference = there.mean(entry.label), change.mean(entry.label)
    return {
        "method": entry.label,
        "run_ids": [run["run_id"] for run in runs],
        "n": len(runs),
        "mean": mean.value,
        "interval": list(mean.interval(level)),
        "per_seed": {str(run["seed"]): run["metrics"][split][contest.metric_name] for run in runs},
        "versus_test": {
            "difference": difference.value,
            "interval": list(difference.interval(level)),
            "p": difference.p,
        },
    }
