"""What a reader of a verdict should know before trusting it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from tuneoff import phrases
from tuneoff.contests import Contest, Entry
from tuneoff.judge import Judge

FEW_SEEDS = 3
FEW_ROWS = 200
"""Below, 95 % of an accuracy near 0.9 spans more than 8 points."""


def warnings(contest: Contest, case: Judge | None) -> list[str]:
    """Sentences, the gravest first; `case` is None when no run finished."""
    found = list(contest.notes)
    if case is not None:
        found += _evidence(contest, case)
        found += _data(contest)
        found += _versions(contest)
        found += _rates(contest)
        found += _costs(contest)
    found += _failures(contest)
    return found


def _runs(contest: Contest) -> list[dict[str, Any]]:
    return [run for entry in contest.entries for run in entry.runs]


def _evidence(contest: Contest, case: Judge) -> list[str]:
    found = []
    if not case.comparison.seeds_measured:
        found.append(
            "One seed per method: intervals and p-values know the test rows only, not what another "
            "seed would change; three seeds or more are needed for a verdict."
        )
    else:
        few = [entry for entry in case.finished if len(entry.runs) < FEW_SEEDS]
        if few:
            names = phrases.listed([f"{entry.label} ({len(entry.runs)})" for entry in few])
            found.append(f"Fewer than {FEW_SEEDS} finished seeds: {names}.")
    rows = case.comparison.scores.rows
    if rows < FEW_ROWS:
        found.append(f"The test set is tiny ({rows} rows); only large differences can show.")
    if case.baseline is not None:
        gain = case.comparison.mean(case.best.label).interval(case.level)[0] - case.baseline
        if gain <= 0:
            found.append(
                f"The best method, {case.best.label}, is not above always answering the most "
                f"frequent class ({contest.metric_name} {case.baseline:.3f}): nothing was learned, "
                "or the test set is too small to show it."
            )
    return found


def _data(contest: Contest) -> list[str]:
    leaked = max(
        ((run.get("data") or {}).get("leaked_test_rows") or 0 for run in _runs(contest)), default=0
    )
    if not leaked:
        return []
    return [
        f"{phrases.counted(leaked, 'test row')} of {len(contest.labels)} also "
        f"{'stands' if leaked == 1 else 'stand'} in train; scores are too good by up to that share."
    ]


def _versions(contest: Contest) -> list[str]:
    versions: dict[str, set[str]] = {}
    for run in _runs(contest):
        versions.setdefault("tuneoff's code", set()).add(str(run.get("code")))
        for name, version in (run.get("versions") or {}).items():
            versions.setdefault(name, set()).add(str(version))
    mixed = [
        f"{name} ({', '.join(sorted(values))})"
        for name, values in versions.items()
        if len(values) > 1
    ]
    if not mixed:
        return []
    return [f"The runs were made with different versions of {phrases.listed(mixed)}."]


def _rates(contest: Contest) -> list[str]:
    return [text for entry in contest.entries if entry.runs if (text := _rate(contest, entry))]


def _rate(contest: Contest, entry: Entry) -> str | None:
    """A best rate at the edge of what was probed may not be the best one."""
    tried = sorted(
        {
            probe["learning_rate"]
            for probe in contest.probes
            if probe.get("method") == entry.method and probe.get("learning_rate")
        }
    )
    if len(tried) < 2 or len(entry.rates) != 1:
        return None
    for edge, word in ((tried[0], "lowest"), (tried[-1], "highest")):
        if math.isclose(entry.rates[0], edge, rel_tol=1e-6):
            return (
                f"{entry.label}: its learning rate {edge:g} is the {word} of those probed "
                f"({', '.join(f'{rate:g}' for rate in tried)}); a wider grid might do better."
            )
    return None


def _costs(contest: Contest) -> list[str]:
    unknown = [
        entry.label
        for entry in contest.entries
        if entry.runs and not {"peak_memory_bytes", "train_seconds"} <= entry.cost.keys()
    ]
    if not unknown:
        return []
    return [f"Memory or time was not measured solo, and is left blank: {phrases.listed(unknown)}."]


def _failures(contest: Contest) -> list[str]:
    found = []
    for entry in contest.entries:
        if not entry.failures:
            continue
        counts = Counter(failure["status"].replace("_", " ") for failure in entry.failures)
        kinds = phrases.listed([f"{count} {status}" for status, count in counts.items()])
        total = len(entry.runs) + len(entry.failures)
        end = "its mean is of the others alone" if entry.runs else "it has no score"
        found.append(
            f"{entry.label}: {len(entry.failures)} of {total} runs did not finish ({kinds}); {end}."
        )
    return found
