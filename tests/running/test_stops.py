"""Budgets and stops, in this process: what begins too late, what changed, and who may write."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.running.tiny_study import tiny_study
from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger
from tuneoff.running.progress import Underway
from tuneoff.running.study_run import Interrupted, StudyRun, run_study
from tuneoff.study import load_study


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[str] = []
        self.stop_in: str | None = None

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def update(
        self, done: int, due: int, left: float | None, underway: dict[int, Underway]
    ) -> None:
        assert 0 <= done <= due
        if self.stop_in == self.phases[-1]:
            os.kill(os.getpid(), signal.SIGTERM)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _without_conclusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyRun, "_conclude", lambda self: None)


def go(folder: Path, told: Told | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    """Runs the tiny study; -> records by method and seed."""
    settings = {"methods": ["bitfit"], "seeds": [0], **changes}
    run_study(load_study(tiny_study(folder, **settings)), folder / "out", told or Told())
    return {f"{r['method']} {r['seed']}": r for r in Ledger(folder / "out").records()}


def test_what_begins_too_late_is_over_budget_and_comes_later(tmp_path: Path) -> None:
    records = go(tmp_path, budget={"minutes": 0.001})
    assert records["bitfit 0"]["status"] == "over_budget"
    assert "budget.minutes" in records["bitfit 0"]["reason"]
    assert go(tmp_path)["bitfit 0"]["status"] == "done"


def test_results_of_other_settings_are_named_and_stay(tmp_path: Path) -> None:
    first = go(tmp_path)["bitfit 0"]
    told = Told()
    training = {"max_steps": 4, "batch_size": 8, "evaluate_every": 4}
    second = go(tmp_path, told, training=training)["bitfit 0"]
    assert first["run_id"] != second["run_id"]
    assert any("1 results" in note and "bitfit" in note for note in told.notes)
    assert len(Ledger(tmp_path / "out").records()) == 2
    again = Told()
    go(tmp_path, again, training=training)
    assert len(Ledger(tmp_path / "out").records()) == 2  # nothing ran


def test_a_stop_says_how_to_go_on_and_the_rest_follows(tmp_path: Path) -> None:
    told = Told()
    told.stop_in = "runs"
    with pytest.raises(Interrupted, match=r"0 of 1 runs are finished; the same command"):
        go(tmp_path, told)
    assert go(tmp_path)["bitfit 0"]["status"] == "done"


def test_a_second_command_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out"), pytest.raises(LedgerError, match="is writing to this"):
        go(tmp_path)


def test_what_does_not_fit_is_skipped_with_its_reason(tmp_path: Path) -> None:
    records = go(tmp_path, budget={"memory_gb": 0.1})
    assert records["bitfit 0"]["status"] == "skipped"
    assert "0.1 GB are free" in records["bitfit 0"]["reason"]
    assert records["bitfit 0"]["data"]["train"] == 80
    assert go(tmp_path)["bitfit 0"]["status"] == "done"
