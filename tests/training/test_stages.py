"""Probes that stop at rungs: who goes on has the numbers of a probe that was never asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.cases import material, spec
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Limits, Outcome, Stage

RUNGS = (2, 5)  # of 12 steps; evaluations after 3, 6, 9, 12
RATES = (3e-4, 1e-3, 3e-3)


def probe(method: str, rate: float, **training: Any) -> Any:
    return spec(method, rate=rate, kind="probe", training={"dropout": 0.1, **training})


def stage(folder: Path, specs: list[Any], until: int | None) -> Stage:
    return Stage(until, [folder / f"{one.run_id}.pt" for one in specs])


def raced(specs: list[Any], stuff: Any, folder: Path) -> Outcome:
    """The middle one, after the others were stopped: the last at the first rung, then the first."""
    folder.mkdir()
    for until, left in zip(RUNGS, (specs, specs[:2]), strict=True):
        outcomes = train_cohort(left, stuff, stage=stage(folder, left, until))
        assert {(one.status, one.steps) for one in outcomes} == {("stopped", until)}
        assert all("a rung" in str(one.reason) and not one.metrics for one in outcomes)
    return train_cohort(specs[1:2], stuff, stage=stage(folder, specs[1:2], None))[0]


def assert_same(one: Outcome, other: Outcome, tolerance: float = 0.0) -> None:
    assert (one.status, one.steps, one.best_step) == (other.status, other.steps, other.best_step)
    assert one.predictions is not None
    assert other.predictions is not None
    np.testing.assert_allclose(
        one.predictions["loss"], other.predictions["loss"], rtol=0, atol=tolerance
    )
    for name, value in one.tensors.items():
        torch.testing.assert_close(value, other.tensors[name], rtol=0, atol=tolerance)
    if not tolerance:
        assert (one.metrics, one.history) == (other.metrics, other.history)


@pytest.mark.parametrize("method", ["lora", "full", "top_blocks"])
def test_alone_a_finalist_has_the_bits_of_a_whole_probe(method: str, tmp_path: Path) -> None:
    stuff = material(tmp_path, double=False)
    whole = train_cohort([probe(method, 1e-3)], stuff)[0]
    found = raced_alone(method, 1e-3, stuff, tmp_path / "states")
    assert_same(found, whole)
    assert [one["step"] for one in found.rungs] == list(RUNGS)
    assert not whole.rungs
    other = raced_alone(method, 1.1e-3, stuff, tmp_path / "others")
    with pytest.raises(AssertionError):
        assert_same(other, whole)


def raced_alone(method: str, rate: float, stuff: Any, folder: Path) -> Any:
    folder.mkdir()
    specs = [probe(method, rate)]
    for until in (*RUNGS, None):
        outcome = train_cohort(specs, stuff, stage=stage(folder, specs, until))[0]
    return outcome


def test_in_company_that_thins_out_a_finalist_has_the_same_numbers(tmp_path: Path) -> None:
    stuff = material(tmp_path)  # float64: what company changes is rounding
    specs = [probe("lora", rate) for rate in RATES]
    found = raced(specs, stuff, tmp_path / "states")
    assert_same(found, train_cohort([specs[1]], stuff)[0], 1e-11)


def test_the_score_at_a_rung_is_that_of_a_run_that_ends_there(tmp_path: Path) -> None:
    """At a constant rate a run of two steps is the beginning of a longer one."""
    stuff = material(tmp_path)
    held = {"schedule": "constant", "warmup_ratio": 0.0}
    specs = [probe("lora", 1e-3, **held)]
    stopped = train_cohort(specs, stuff, stage=stage(tmp_path, specs, 2))[0]
    short = train_cohort([probe("lora", 1e-3, **held, epochs=2 / 6)], stuff)[0]
    longer = train_cohort([probe("lora", 1e-3, **held, epochs=3 / 6)], stuff)[0]
    assert stopped.rungs[0]["validation"] == pytest.approx(short.metrics["validation"], abs=1e-12)
    assert stopped.rungs[0]["validation"]["loss"] != pytest.approx(
        longer.metrics["validation"]["loss"], abs=1e-6
    )


class KilledError(Exception):
    pass


@pytest.mark.parametrize("kill", ["training", "between states"])
def test_a_kill_in_the_middle_rung_changes_no_bit(
    kill: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, where other company would change the last bits."""
    from tuneoff.training import checkpoints

    stuff = material(tmp_path, double=False)
    specs = [probe("lora", rate) for rate in RATES]
    undisturbed = raced(specs, stuff, tmp_path / "whole")
    folder, left = tmp_path / "killed", specs[:2]
    folder.mkdir()
    train_cohort(specs, stuff, stage=stage(folder, specs, RUNGS[0]))
    path = folder / "cohort.pt"
    limits = Limits(checkpoint_seconds=0)
    middle = stage(folder, left, RUNGS[1])
    save = checkpoints.save

    def save_and_die(where: Path, members: Any) -> None:
        save(where, members)
        if where != path:
            raise KilledError

    with monkeypatch.context() as patch:
        if kill == "between states":
            patch.setattr(checkpoints, "save", save_and_die)
            limits = replace(limits, checkpoint_seconds=60)
        with pytest.raises(KilledError):
            train_cohort(left, stuff, path, limits, die_at(7 if kill == "training" else 99), middle)
    assert path.exists()
    train_cohort(left, stuff, path, limits, None, middle)
    found = train_cohort(specs[1:2], stuff, stage=stage(folder, specs[1:2], None))[0]
    assert_same(found, undisturbed)
    assert found.rungs == undisturbed.rungs


def die_at(steps: int) -> Any:
    def report(progress: Any) -> None:
        if progress.steps_done >= steps:
            raise KilledError

    return report


def test_a_probe_that_diverges_on_its_way_keeps_its_rungs(tmp_path: Path) -> None:
    stuff = material(tmp_path, double=False)
    specs = [probe("full", 1e30, schedule="constant", warmup_steps=3)]
    stopped = train_cohort(specs, stuff, stage=stage(tmp_path, specs, 1))[0]
    assert stopped.status == "stopped"
    (broken,) = train_cohort(specs, stuff, stage=stage(tmp_path, specs, 9))
    assert broken.status == "diverged"
    assert [one["step"] for one in broken.rungs] == [1]


def test_a_state_from_beyond_the_rung_is_not_used(tmp_path: Path) -> None:
    """A study whose `tuning.halving` was changed has other rungs."""
    stuff = material(tmp_path)
    specs = [probe("lora", 1e-3)]
    train_cohort(specs, stuff, stage=stage(tmp_path, specs, 5))
    again = train_cohort(specs, stuff, stage=stage(tmp_path, specs, 3))[0]
    assert [one["step"] for one in again.rungs] == [3]
