"""A study whose probes are halved: real processes, from rung to rung, killed among them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.running.test_kills import (
    NUMBERS,
    assert_same,
    kill_until_done,
    run_through,
    written_study,
)
from tuneoff.ledger import Ledger

METHODS = ["full", "lora"]
STEPS = 40  # of a probe; 4 probes at halving 2 stop at steps 10 and 20


def study(folder: Path, **tuning: Any) -> Path:
    training = {"max_steps": 2 * STEPS, "batch_size": 8, "evaluate_every": 30}
    given = {"probes": 4, "share": 0.5, **tuning}
    return written_study(folder, methods=METHODS, seeds=[0], training=training, tuning=given)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halved")
    run_through(study(folder, halving=2), folder / "out")
    return folder / "out"


def probes(out: Path) -> dict[str, dict[str, Any]]:
    return {line["run_id"]: line for line in Ledger(out).probes()}


def test_each_method_sends_one_probe_in_four_to_the_end(halved: Path) -> None:
    lines = probes(halved)
    for method in METHODS:
        own = [line for line in lines.values() if line["method"] == method]
        assert sorted(line["steps"] for line in own) == [10, 10, 20, STEPS]
        assert [line["status"] for line in own].count("stopped") == 3
        for line in own:
            assert line["status"] == "done" or "step" in line["reason"]
            assert [one["step"] for one in line["rungs"]] == [10, 20][: 1 + (line["steps"] > 10)]
        first = {
            line["run_id"]: line["rungs"][0]["validation"] for line in own if line["steps"] > 10
        }
        assert len(first) == 2
        used = {r["learning_rate"] for r in Ledger(halved).records() if r["method"] == method}
        assert used == {line["learning_rate"] for line in own if line["status"] == "done"}
    assert not list(halved.glob("checkpoints/*"))
    records = Ledger(halved).records()
    assert {record["steps"] for record in records} == {2 * STEPS}  # a run is never stopped
    assert {record["status"] for record in records} == {"done"}


def test_the_finalists_are_probes_like_those_of_the_whole_grid(halved: Path) -> None:
    run_through(study(halved.parent), halved.parent / "whole")
    whole = probes(halved.parent / "whole")
    assert {line["status"] for line in whole.values()} == {"done"}
    lines = probes(halved)
    assert lines.keys() == whole.keys()  # the same probes, known by the same ids
    for run, line in lines.items():
        if line["status"] == "done" and line["method"] == "full":  # alone, so bit for bit
            assert all(line[name] == whole[run][name] for name in NUMBERS)
        elif line["status"] == "done":
            assert [one["step"] for one in line["history"]] == [30, 40]
            mine, theirs = (one["metrics"]["validation"]["loss"] for one in (line, whole[run]))
            np.testing.assert_allclose(mine, theirs, rtol=1e-4)


def test_kills_among_the_rungs_change_no_number(halved: Path) -> None:
    folder = halved.parent
    kills = kill_until_done(study(folder, halving=2), folder / "killed", 3, random.Random(0))
    assert sum(kills.values()) == 3
    assert_same(halved, folder / "killed")
    one, other = probes(halved), probes(folder / "killed")
    assert one.keys() == other.keys()
    for run, line in one.items():
        for name in (*NUMBERS, "rungs", "reason"):
            assert line.get(name) == other[run].get(name), (line["method"], name)
