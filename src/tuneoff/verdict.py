"""The verdict of a study: read from its ledger, written to `verdict.json`.

    verdict = make_verdict("runs/quickstart")
    print(verdict["contests"][0]["headline"])

The form is in docs/architecture.md, the statistics in docs/statistics.md, the rules behind each
answer in `tuneoff.answers`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tuneoff import phrases
from tuneoff.answers import answers, headline
from tuneoff.contests import Contest, Entry, read_contests
from tuneoff.judge import Judge
from tuneoff.ledger import Ledger
from tuneoff.metrics import Predicted
from tuneoff.shifts import shifted
from tuneoff.statistics import Estimate
from tuneoff.verdict_warnings import warnings
from tuneoff.whole_file import write_whole

VERSION = 1
FRONTS = ("peak_memory_bytes", "train_seconds", "trainable_parameters", "adapter_bytes")


def make_verdict(
    folder: str | os.PathLike[str],
    level: float = 0.95,
    run_ids: Collection[str] | None = None,
) -> dict[str, Any]:
    """Judges every contest of a folder and writes `verdict.json` there.

    level: of the intervals and, after correction, of the ties. run_ids: the runs that the study
    asks for now, so that stale ones are left out; all when None.
    Raises LedgerError when the folder has no results or they cannot be read.
    """
    if not 0.5 <= level < 1:
        raise ValueError(f"level is a share from 0.5 to below 1, like 0.95; got {level}")
    ledger = Ledger(folder)
    contests = read_contests(ledger, run_ids)
    records = ledger.records("run")
    verdict = {
        "study": records[-1].get("study"),
        "version": VERSION,
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "contests": [
            judge(contest, level) | {"shift": shifted(ledger, contest, level)}
            for contest in contests
        ],
        "warnings": list(ledger.notices),
    }
    path = Path(folder) / "verdict.json"
    text = json.dumps(verdict, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")
    return verdict


def judge(contest: Contest, level: float) -> dict[str, Any]:
    """One contest in the form of `verdict.json`."""
    baseline = _baseline(contest)
    seeds = sorted({seed for entry in contest.entries for seed in entry.seeds})
    result: dict[str, Any] = {
        "backbone": contest.backbone,
        "task": contest.task,
        "metric": contest.metric_name,
        "higher_is_better": contest.metric.higher_is_better,
        "n_test": len(contest.labels),
        "seeds": seeds,
        "confidence_level": level,
        "majority_baseline": baseline,
    }
    if contest.comparison is None:
        reasons = phrases.listed(
            [f"{entry.label} ({entry.failures[-1]['reason']})" for entry in contest.entries]
        )
        return result | {
            "headline": f"No method finished: {reasons}.",
            "noise_floor": None,
            "methods": [_unfinished(entry) for entry in contest.entries],
            "best": None,
            "tied_with_best": [],
            "comparisons": 0,
            "answers": [],
            "warnings": warnings(contest, None),
        }
    case = Judge(contest, contest.comparison, level, baseline)
    rows = [_row(case, entry) for entry in case.finished]
    for key in FRONTS:
        _mark_front(rows, key, contest.metric.higher_is_better)
    return result | {
        "headline": headline(case),
        "noise_floor": _noise_floor(case),
        "methods": rows + [_unfinished(entry) for entry in contest.entries if not entry.runs],
        "best": case.best.label,
        "tied_with_best": [entry.label for entry in case.leaders],
        "comparisons": contest.comparison.pairs,
        "answers": answers(case),
        "warnings": warnings(contest, case),
    }


def _baseline(contest: Contest) -> float | None:
    """The score of always answering the class that is most frequent among the test labels."""
    if contest.comparison is None or not contest.classes or not phrases.in_points(contest.metric):
        return None
    labels = contest.labels
    constant = np.full_like(labels, np.bincount(labels).argmax())
    rows = Predicted(
        losses=np.zeros(len(labels)), labels=labels, predictions=constant, classes=contest.classes
    )
    score = contest.metric.score(rows)
    return float(score)


def _row(case: Judge, entry: Entry) -> dict[str, Any]:
    """A method with finished runs."""
    name, comparison = case.contest.metric_name, case.comparison
    scores = [float(run["metrics"]["test"][name]) for run in entry.runs]
    mean = comparison.mean(entry.label)
    full = next((other for other in case.finished if other.is_full), None)
    return {
        "method": entry.label,
        "run_ids": [run["run_id"] for run in entry.runs],
        "n": len(entry.runs),
        "n_failed": len(entry.failures),
        "failures": entry.failures,
        "mean": mean.value,
        "sd": _sd(scores),
        "interval": list(mean.interval(case.level)),
        "per_seed": {str(seed): score for seed, score in zip(entry.seeds, scores, strict=True)},
        "metrics": _metrics(entry),
        "versus_best": _versus(case, entry, case.best),
        "versus_full": _versus(case, entry, full) if full else None,
        "cost": entry.cost,
        "cost_sd": entry.cost_sd,
        "learning_rate": entry.rates[0] if len(entry.rates) == 1 else None,
        "on_front": {},
    }


def _unfinished(entry: Entry) -> dict[str, Any]:
    """A method without a finished run: it has its reasons, and no number."""
    return {
        "method": entry.label,
        "run_ids": [],
        "n": 0,
        "n_failed": len(entry.failures),
        "failures": entry.failures,
        "mean": None,
        "sd": None,
        "interval": None,
        "per_seed": {},
        "metrics": {},
        "versus_best": None,
        "versus_full": None,
        "cost": {},
        "cost_sd": {},
        "learning_rate": None,
        "on_front": dict.fromkeys(FRONTS, False),
    }


def _sd(scores: list[float]) -> float | None:
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def _metrics(entry: Entry) -> dict[str, dict[str, float | None]]:
    """Mean and spread of every test metric that is a number."""
    found: dict[str, list[float]] = {}
    for run in entry.runs:
        for name, score in run["metrics"]["test"].items():
            if isinstance(score, int | float):
                found.setdefault(name, []).append(float(score))
    return {
        name: {"mean": float(np.mean(scores)), "sd": _sd(scores)} for name, scores in found.items()
    }


def _versus(case: Judge, entry: Entry, other: Entry) -> dict[str, Any]:
    difference: Estimate = case.comparison.difference(entry.label, other.label)
    return {
        "method": other.label,
        "difference": difference.value,
        "interval": list(difference.interval(case.level)),
        "p": difference.p,
        "p_corrected": case.comparison.corrected_p(entry.label, other.label),
        "tied": case.tied(entry, other),
    }


def _mark_front(rows: list[dict[str, Any]], key: str, higher_is_better: bool) -> None:
    """On the front is whatever no other method beats in one of quality and cost at no loss."""
    sign = 1 if higher_is_better else -1
    points = [(sign * row["mean"], -row["cost"][key]) for row in rows if key in row["cost"]]
    for row in rows:
        row["on_front"][key] = key in row["cost"] and not any(
            other != own and other[0] >= own[0] and other[1] >= own[1]
            for own in [(sign * row["mean"], -row["cost"][key])]
            for other in points
        )


def _noise_floor(case: Judge) -> dict[str, Any]:
    """The smallest difference that means something, in the metric's unit."""
    metric, name = case.contest.metric, case.contest.metric_name
    value = case.comparison.noise_floor(case.level)
    if value is None:
        sentence = "With one seed per method the noise floor cannot be measured."
    else:
        sentence = f"Differences below {phrases.amount(value, metric, name)} mean nothing here."
    return {
        "value": value,
        "unit": name,
        "definition": (
            f"half width of the {case.level * 100:g} % interval of the difference between two "
            "groups of runs of one same setting with other seeds, on these test rows, as many "
            "seeds a group as the methods have; spread over seeds pooled over methods"
        ),
        "sentence": sentence,
    }
