"""The ledger, ordered into contests: per backbone and task, every method setting with its runs.

Reads the ledger only. What cannot be compared (another fingerprint of the data, missing
predictions, a score that is not a number) is named, never mixed in and never dropped silently.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuneoff import registry
from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger, Record
from tuneoff.metrics import Metric, Predicted
from tuneoff.resampling import score_runs
from tuneoff.statistics import Comparison

SIZES = ("trainable_parameters", "total_parameters", "adapter_bytes")
"""Costs that do not depend on what else ran beside."""


@dataclass
class Entry:
    """One method setting: its finished runs by seed, and the runs that did not finish."""

    label: str
    method: str
    runs: list[Record] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    cost_sd: dict[str, float] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        return [run["seed"] for run in self.runs]

    @property
    def rates(self) -> list[float]:
        return sorted({run["learning_rate"] for run in self.runs if run.get("learning_rate")})

    @property
    def is_full(self) -> bool:
        """Whether this is full fine-tuning, under whatever name."""
        settings = (self.runs[0].get("settings") or {}).get("method", {}) if self.runs else {}
        return bool(settings.get("method", self.method) == "full")

    @property
    def run_seconds(self) -> float | None:
        """Loading, training and evaluation of one run."""
        parts = [self.cost.get(f"{part}_seconds") for part in ("load", "train", "evaluation")]
        return sum(part or 0.0 for part in parts) if parts[1] is not None else None

    def fail(self, record: Record, status: str, reason: str) -> None:
        keys = {"run_id": record["run_id"], "seed": record.get("seed")}
        self.failures.append({**keys, "status": status, "reason": reason})


@dataclass
class Contest:
    """One backbone and task. `comparison` knows the entries with runs; None when there are none."""

    backbone: str
    task: str
    metric_name: str
    metric: Metric
    classes: list[str]
    entries: list[Entry]
    labels: np.ndarray
    comparison: Comparison | None
    notes: list[str]
    """What was left out, and why."""
    probes: list[Record]

    def entry(self, label: str) -> Entry:
        return next(entry for entry in self.entries if entry.label == label)


def read_contests(ledger: Ledger, run_ids: Collection[str] | None = None) -> list[Contest]:
    """Every contest of a folder, in the order of its first run.

    run_ids: the runs that the study asks for now; all when None.
    Raises LedgerError when there is no run at all.
    """
    records = ledger.records("run")
    if run_ids is not None:
        records = [record for record in records if record["run_id"] in set(run_ids)]
    if not records:
        raise LedgerError(
            f"{ledger.folder}: no runs in results.jsonl yet; start with `tuneoff run`"
        )
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["backbone"], record["task"]), []).append(record)
    return [_contest(ledger, group) for group in groups.values()]


def _contest(ledger: Ledger, records: list[Record]) -> Contest:
    first = records[-1]
    notes: list[str] = []
    records = _current(records, notes)
    metric_name = first["primary_metric"]
    metric = _metric(first)
    entries = _entries(records)
    columns = _read_predictions(ledger, entries, metric_name, notes)
    labels, comparison = np.zeros(0, np.int64), None
    if columns:
        some = next(iter(columns.values()))
        labels = some.get("label", labels)
        order = {run_id: place for place, run_id in enumerate(columns)}
        classes = first.get("classes") or []
        comparison = Comparison(
            score_runs(
                metric,
                [predicted(column, metric_name, classes) for column in columns.values()],
                metric_name,
            ),
            {
                entry.label: [order[run["run_id"]] for run in entry.runs]
                for entry in entries
                if entry.runs
            },
        )
    profiles = [_ for _ in ledger.profiles() if _is_of(_, first)]
    for entry in entries:
        _add_cost(entry, profiles)
    probes = [_ for _ in ledger.probes() if _is_of(_, first)]
    return Contest(
        first["backbone"], first["task"], metric_name, metric, first.get("classes") or [],
        entries, labels, comparison, notes, probes,
    )  # fmt: skip


def _metric(record: Record) -> Metric:
    """The metric of a run, with the settings that it was measured with."""
    name = record["primary_metric"]
    given = (record["settings"].get("task") or {}).get("metrics") or {}
    metric: Metric = registry.get("metrics", name).model_validate_json(
        json.dumps(given.get(name) or {})
    )
    return metric


def _is_of(record: Record, other: Record) -> bool:
    return (record.get("backbone"), record.get("task")) == (other["backbone"], other["task"])


def _current(records: list[Record], notes: list[str]) -> list[Record]:
    """Without runs on other data than the newest's, and of equal runs only the newest."""
    wanted = (records[-1].get("data") or {}).get("fingerprint")
    chosen: dict[tuple[str, int], Record] = {}
    left_out: list[str] = []
    for record in records:
        found = (record.get("data") or {}).get("fingerprint")
        if found != wanted and record["status"] == "done":
            left_out.append(record["run_id"])
            continue
        key = (json.dumps([record["method"], record["settings"]], sort_keys=True), record["seed"])
        if key in chosen:
            left_out.append(chosen.pop(key)["run_id"])
        chosen[key] = record
    if left_out:
        notes.append(
            f"{len(left_out)} stale run{'s' * (len(left_out) > 1)} left out (other data or code "
            f"than the newest): {', '.join(left_out)}"
        )
    return list(chosen.values())


def _entries(records: list[Record]) -> list[Entry]:
    """Runs by method setting. Rates set apart only settings that share a seed."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_key(record, with_rate=False), []).append(record)
    split: dict[str, list[Record]] = {}
    for key, group in groups.items():
        several = len({record["seed"] for record in group}) < len(group)
        for record in group:
            split.setdefault(_key(record, True) if several else key, []).append(record)
    entries = []
    for label, group in zip(_labels(list(split.values())), split.values(), strict=True):
        entry = Entry(label, group[0]["method"])
        for record in sorted(group, key=lambda record: record["seed"]):
            if record["status"] == "done":
                entry.runs.append(record)
            else:
                entry.fail(record, record["status"], record["reason"])
        entries.append(entry)
    return entries


def _key(record: Record, with_rate: bool) -> str:
    settings = flat({"method": record.get("method"), "settings": record.get("settings")})
    if not with_rate:
        settings.pop("settings.method.learning_rate", None)
    return json.dumps(settings, sort_keys=True)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Groups within groups as one: `{"method": {"rank": 8}}` -> `{"method.rank": 8}`."""
    if not isinstance(value, Mapping):
        return {path: value}
    return {
        key: leaf
        for name, item in value.items()
        for key, leaf in flat(item, f"{path}.{name}" if path else str(name)).items()
    }


def _labels(groups: list[list[Record]]) -> list[str]:
    """The method's name, and what sets it apart where a method stands several times."""
    labels = []
    for group in groups:
        name = group[0]["method"]
        rivals = [flat(other[0]["settings"]) for other in groups if other[0]["method"] == name]
        own = flat(group[0]["settings"])
        apart = [
            f"{path.rsplit('.', 1)[-1]}={value}"
            for path, value in own.items()
            if any(rival.get(path) != value for rival in rivals)
        ]
        labels.append(" ".join([name, *apart]))
    return labels


def _read_predictions(
    ledger: Ledger, entries: Iterable[Entry], metric_name: str, notes: list[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Test predictions by run id, on the same rows; runs without usable ones become failures."""
    columns: dict[str, dict[str, np.ndarray]] = {}
    for entry in entries:
        usable = []
        for run in entry.runs:
            score = run["metrics"]["test"].get(metric_name)
            if not isinstance(score, int | float):
                entry.fail(run, "failed", f"its {metric_name} is not a number")
                continue
            try:
                column = by_row(ledger, run["run_id"], "test")
            except LedgerError as error:
                entry.fail(run, "failed", str(error))
                continue
            other = next(iter(columns.values()), column)
            same = (key for key in ("row", "label", "tokens") if key in column)
            if not all(key in other and np.array_equal(column[key], other[key]) for key in same):
                entry.fail(run, "failed", "its test rows are others than those of the other runs")
                notes.append(f"run {run['run_id']} ({entry.label}) has other test rows; left out")
                continue
            columns[run["run_id"]] = column
            usable.append(run)
        entry.runs = usable
    return columns


def by_row(ledger: Ledger, run_id: str, split: str) -> dict[str, np.ndarray]:
    """A run's predictions of a split in the order of its rows. Raises LedgerError."""
    column = ledger.predictions(run_id, split)
    order = np.argsort(column["row"], kind="stable")
    return {name: values[order] for name, values in column.items()}


def predicted(column: dict[str, np.ndarray], metric_name: str, classes: list[str]) -> Predicted:
    """A run's columns as metrics read them."""
    kept = {metric_name: column["statistics"]} if "statistics" in column else {}
    return Predicted(
        losses=column["loss"],
        tokens=column.get("tokens", np.zeros(0, np.int64)),
        labels=column.get("label"),
        predictions=column.get("prediction"),
        classes=classes,
        texts=column.get("text"),  # type: ignore[arg-type]
        references=column.get("references"),  # type: ignore[arg-type]
        rows=column["row"],
        kept=kept,
    )


def _add_cost(entry: Entry, profiles: Iterable[Record]) -> None:
    """Mean and standard deviation over runs of each cost that was measured solo."""
    matching = [
        profile["cost"]
        for profile in profiles
        if profile.get("cost")  # a profile that failed has none
        and entry.runs
        and _key(profile, False) == _key(entry.runs[0], False)
    ]
    measured: dict[str, list[float]] = {}
    for run in entry.runs:
        cost = dict(run.get("cost") or {})
        if cost.get("measured") != "solo":
            cost = {name: cost.get(name) for name in SIZES}
            for name, value in (matching[-1] if matching else {}).items():
                cost[name] = value if value is not None else cost.get(name)
            if cost.get("train_seconds") is None and cost.get("step_seconds") is not None:
                cost["train_seconds"] = cost["step_seconds"] * run["steps"]
        for name, value in cost.items():
            if isinstance(value, int | float):
                measured.setdefault(name, []).append(value)
    for name, values in measured.items():
        entry.cost[name] = float(np.mean(values))
        if len(values) > 1:
            entry.cost_sd[name] = float(np.std(values, ddof=1))
