"""Analyses that studies ask for, through the real command: a sweep of how runs are computed,
runs between the original and the trained model, and a further test set."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from tests.running.test_end_to_end import tuneoff, write_study
from tuneoff.ledger import Ledger
from tuneoff.report.contents import read_contents
from tuneoff.report.effects import Effect, effects

SWEPT = [
    "lora",
    {"name": "checkpointed", "method": "lora", "training": {"gradient_checkpointing": True}},
    {"name": "halved", "method": "lora", "training": {"precision": "bf16"}},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of one method computed in three ways."""
    folder = tmp_path_factory.mktemp("analyses")
    evaluation = {"interpolation": [0, 0.5, 1]}
    study = write_study(folder, methods=SWEPT, evaluation=evaluation, shift=True)
    done = tuneoff("run", str(study), "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def found(finished: Path) -> dict[str, Effect]:
    return {effect.setting: effect for effect in effects(read_contents(finished))}


@pytest.mark.parametrize(
    ("setting", "values"),
    [("gradient_checkpointing", [False, True]), ("precision", ["bf16", "fp32"])],
)
def test_a_way_of_computing_is_swept_with_its_time_and_memory(
    found: dict[str, Effect], setting: str, values: list[object]
) -> None:
    effect = found[setting]
    assert sorted(point.value for point in effect.points) == values
    for point in effect.points:
        assert point.result.mean is not None
        assert (point.result.cost_of("train_seconds") or 0) > 0
        assert point.result.cost_of("peak_memory_bytes") is not None
        assert (point.result.cost_of("inference_seconds_per_example") or 0) > 0


def test_each_way_was_measured_for_itself(finished: Path, found: dict[str, Effect]) -> None:
    """Three profiles, and of each value its own; nothing but the two settings was swept."""
    assert set(found) == {"gradient_checkpointing", "precision"}
    profiles = {one["method"]: one["cost"] for one in Ledger(finished).profiles()}
    assert set(profiles) == {"lora", "checkpointed", "halved"}
    for effect in found.values():
        for point in effect.points:
            peak = profiles[point.result.method]["peak_memory_bytes"]
            assert point.result.cost_of("peak_memory_bytes") == peak


def test_checkpointing_changes_no_number_and_bf16_does(finished: Path) -> None:
    ledger = Ledger(finished)
    losses = {
        (run["method"], run["seed"]): ledger.predictions(run["run_id"], "test")["loss"]
        for run in ledger.records()
    }
    for seed in (0, 1):
        far = {
            method: float(np.abs(losses[method, seed] - losses["lora", seed]).max())
            for method in ("checkpointed", "halved")
        }
        assert far["checkpointed"] < 1e-6
        assert far["halved"] > 1e-5


def test_the_page_draws_both(finished: Path) -> None:
    page = (finished / "report.html").read_text("utf-8")
    assert "gradient checkpointing: off: " in page
    assert re.search("precision: (fp32|bf16): ", page)
    assert "Inference time of one example" in page


def test_runs_hold_their_scores_between(finished: Path) -> None:
    for run in Ledger(finished).records():
        places = {entry["alpha"]: entry["metrics"]["test"] for entry in run["interpolation"]}
        assert list(places) == [0, 0.5, 1]
        own = run["metrics"]["test"]
        assert places[1] == {name: own[name] for name in places[1]}
        assert places[0]["loss"] != places[0.5]["loss"] != places[1]["loss"]
    assert "Between the original and the trained model" in (finished / "report.html").read_text()


def test_a_further_test_set_goes_the_whole_way(finished: Path) -> None:
    """Scored as scikit-learn scores the answers that were kept; planned, judged and shown."""
    for run in Ledger(finished).records():
        assert run["data"]["shift:other"] == 30
        columns = Ledger(finished).predictions(run["run_id"], "shift:other")
        assert columns["row"].tolist() == list(range(30))
        score = accuracy_score(columns["label"], columns["prediction"])
        assert run["metrics"]["shift:other"]["accuracy"] == pytest.approx(score)
    (contest,) = json.loads((finished / "verdict.json").read_text())["contests"]
    (one,) = contest["shift"]
    assert (one["name"], one["n_test"], one["notes"]) == ("other", 30, [])
    assert {method["method"] for method in one["methods"]} == {"lora", "checkpointed", "halved"}
    assert "Under another distribution: other" in (finished / "report.html").read_text("utf-8")
