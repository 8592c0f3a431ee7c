"""`results.csv`: one row per run, whatever became of it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from tuneoff.datasets import SHIFT
from tuneoff.report.contents import Contents, Run

_FIRST = ("run_id", "status", "reason", "backbone", "task", "method", "seed", "learning_rate")
_LAST = ("best_step", "steps", "micro_batch_size", "code", "started_at", "finished_at")


def run_table(contents: Contents) -> str:
    """The table as CSV text. What a run lacks is an empty cell; numbers are exact."""
    rows = [_row(run) for run in contents.runs]
    found = list(dict.fromkeys(key for row in rows for key in row))
    middle = sorted((key for key in found if key not in _FIRST + _LAST), key=_group)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_FIRST, *middle, *_LAST], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _group(column: str) -> int:
    """Scores before costs before circumstances; within each, as the ledger has them."""
    prefixes = ("test_", "validation_", SHIFT, "cost_", "cohort", "data_", "version_", "settings")
    return next((i for i, prefix in enumerate(prefixes) if column.startswith(prefix)), -1)


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {key: getattr(run, key) for key in _FIRST + _LAST}
    row["study"], row["primary_metric"] = run.study, run.primary_metric
    for split, scores in (run.metrics or {}).items():
        for name, value in (scores or {}).items():
            if not isinstance(value, dict | list):  # tables stay in results.jsonl
                row[f"{split}_{name}"] = value
    row |= {f"cost_{key}": value for key, value in (run.cost or {}).items()}
    row["cohort"], row["cohort_size"] = _member(run, "id"), _member(run, "size")
    row["retries"] = len(run.retries or [])
    row["notes"] = "; ".join(map(str, run.notes or []))
    row |= {
        f"data_{key}": value
        for key, value in (run.data or {}).items()
        if not isinstance(value, dict | list)
    }
    row |= {f"version_{key}": value for key, value in (run.versions or {}).items()}
    row["settings"] = json.dumps(run.settings, ensure_ascii=False, sort_keys=True)
    return row


def _member(run: Run, key: str) -> Any:
    return (run.cohort or {}).get(key)
