"""Exact resume: real processes are killed (kill -9) at random times, the whole process group or
one worker alone, and the study still ends in the numbers of an undisturbed one, bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.running.tiny_study import tiny_study
from tuneoff.ledger import Ledger

ROOT = Path(__file__).parents[2]
NUMBERS = (
    "status",
    "metrics",
    "interpolation",
    "history",
    "best_step",
    "steps",
    "learning_rate",
    "tokens",
)


def start(study: Path, out: Path) -> subprocess.Popen[str]:
    """The study in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.running.run_tiny", str(study), str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run_through(study: Path, out: Path) -> None:
    process = start(study, out)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def saved(out: Path) -> set[tuple[str, int]]:
    """The checkpoints and when they were written."""
    found = set()
    for path in out.glob("checkpoints/*.pt"):
        with contextlib.suppress(FileNotFoundError):  # its cohort has just ended
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def wait_for_training(process: subprocess.Popen[str], out: Path) -> bool:
    """True when a checkpoint has been written since the call; False when the study has ended."""
    before = saved(out)
    while process.poll() is None:
        if saved(out) - before:
            return True
        time.sleep(0.01)
    return False


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that the fork server forked."""
    found = []
    for child in psutil.Process(process.pid).children():
        found += child.children()
    return found


def kill_until_done(study: Path, out: Path, most: int, draw: random.Random) -> dict[str, int]:
    """Starts again after each kill; after `most` kills of a kind, nobody disturbs any more."""
    kills = {"group": 0, "worker": 0}
    while True:
        process = start(study, out)
        try:
            while wait_for_training(process, out) and sum(kills.values()) < most:
                time.sleep(draw.uniform(0.0, 0.3))
                if process.poll() is not None:
                    break
                if draw.random() < 0.5:
                    os.killpg(process.pid, signal.SIGKILL)
                    kills["group"] += 1
                    break
                workers = workers_of(process)
                if workers:
                    draw.choice(workers).kill()
                    kills["worker"] += 1
            _, errors = process.communicate(timeout=600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if process.returncode == 0:
            return kills
        assert process.returncode == -signal.SIGKILL, errors


def numbers(out: Path) -> dict[str, Any]:
    """What must be the same, by run."""
    ledger = Ledger(out)
    found = {}
    for record in ledger.records():
        columns = ledger.predictions(record["run_id"])
        found[record["run_id"]] = ({name: record[name] for name in NUMBERS}, columns)
    return found


def assert_same(left: Path, right: Path) -> None:
    one, other = numbers(left), numbers(right)
    assert one.keys() == other.keys()
    for run, (record, columns) in one.items():
        assert record == other[run][0]
        for name, values in columns.items():
            np.testing.assert_array_equal(values, other[run][1][name], strict=True)


def written_study(folder: Path, **changes: Any) -> Path:
    path = folder / "study.json"
    path.write_text(json.dumps(tiny_study(folder, **changes)))
    return path


def test_kills_change_no_number(tmp_path: Path) -> None:
    training = {"max_steps": 120, "batch_size": 8, "evaluate_every": 30}
    study = written_study(
        tmp_path,
        methods=["lora", "top_blocks"],
        training=training,
        evaluation={"interpolation": [0, 0.5, 1]},
        shift=True,
    )
    run_through(study, tmp_path / "whole")
    kills = kill_until_done(study, tmp_path / "killed", 3, random.Random(0))
    assert sum(kills.values()) == 3
    assert_same(tmp_path / "whole", tmp_path / "killed")
    lines = (tmp_path / "killed" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 4  # nothing finished is run twice
    assert not list((tmp_path / "killed" / "checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_many_kills_change_no_number(tmp_path: Path) -> None:
    dropping = {"method": "lora", "name": "dropping", "rank": 4, "lora_dropout": 0.1}
    study = written_study(
        tmp_path,
        methods=["full", "lora", "bitfit", "top_blocks", dropping],
        seeds=[0, 1],
        training={"max_steps": 250, "batch_size": 8, "evaluate_every": 50},
        tuning={"probes": 2, "share": 0.5},
    )
    run_through(study, tmp_path / "whole")
    kills = kill_until_done(study, tmp_path / "killed", 24, random.Random(1))
    assert kills["group"] >= 5
    assert kills["worker"] >= 5
    assert sum(kills.values()) >= 20
    assert_same(tmp_path / "whole", tmp_path / "killed")
