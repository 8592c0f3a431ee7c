"""`plan.json` and `study.yaml` in a study's folder, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneoff.errors import LedgerError
from tuneoff.planning.cohorts import Cohort
from tuneoff.planning.plan import FORMAT, Plan
from tuneoff.whole_file import write_whole


def read_plan(folder: Path) -> dict[str, Any] | None:
    """The plan of an earlier start, or None.

    Raises LedgerError when it cannot be understood.
    """
    path = folder / "plan.json"
    if not path.exists():
        return None
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LedgerError(
            f"{path}: is not JSON ({error}); remove it, and unfinished runs start anew"
        ) from None
    found = plan.get("format") if isinstance(plan, dict) else None
    if found != FORMAT:
        raise LedgerError(
            f"{path}: a plan of format {found!r}, and this tuneoff reads {FORMAT}; use the version "
            "that wrote it, or another folder (--out)"
        )
    assert isinstance(plan, dict)
    return plan


def write_plan(
    folder: Path, plan: Plan, cohorts: Sequence[Cohort], earlier: Mapping[str, Any] | None = None
) -> None:
    """The plan with these cohorts still to do. While probes run, the cohorts of runs that an
    earlier plan fixed stay in it."""
    content = replace(plan, cohorts=tuple(cohorts)).to_json()
    ids = {cohort.id for cohort in cohorts}
    content["cohorts"] += [
        one
        for one in (earlier or {}).get("cohorts", ())
        if one["kind"] == "run" and one["id"] not in ids
    ]
    write_whole(folder / "plan.json", json.dumps(content, indent=1) + "\n")
