"""Quality between the original and the trained model, in the report: means and intervals as scipy
has them, in the drawing, on the page and in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.fixtures_ledger import make_folder
from tests.report.conftest import Reported
from tests.report.folders import rewrite
from tuneoff.report import write_report
from tuneoff.report.between import between, metric_between
from tuneoff.report.contents import Contest, read_contents

PLACES = (0.0, 0.5, 1.0)


def folder(path: Path, metric: str = "accuracy", seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Two methods, each measured at three places; at the last one it has its own score."""
    make_folder(path, methods=["full", "lora"], failures=False, seeds=seeds)

    def change(record: dict[str, Any]) -> dict[str, Any]:
        if record["kind"] != "run":
            return record
        own = record["metrics"]["test"]["accuracy"]
        entries = [
            {"alpha": alpha, "metrics": {"test": {metric: 0.3 + alpha * (own - 0.3), "loss": 1.0}}}
            for alpha in PLACES
        ]
        return record | {"interpolation": entries}

    return rewrite(path, change)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("between"))


def contest(path: Path) -> Contest:
    return read_contents(path).contests[0]


def test_means_and_intervals_over_seeds(measured: Path) -> None:
    found = {line.method: line.places for line in between(contest(measured))}
    assert set(found) == {"full", "lora"}
    for method, places in found.items():
        own = [run.score("test", "accuracy") for run in contest(measured).runs_of(method)]
        assert [place.alpha for place in places] == list(PLACES)
        for place in places:
            scores = 0.3 + place.alpha * (np.array(own) - 0.3)
            assert place.mean == pytest.approx(scores.mean())
            assert place.seeds == 3
            assert place.interval is not None
            if place.alpha:
                expected = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
                assert place.interval == pytest.approx(expected)


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    lines = between(contest(folder(tmp_path, seeds=(0,))))
    assert {place.interval for line in lines for place in line.places} == {None}


def test_the_loss_stands_in_for_a_metric_that_asks_another_model(tmp_path: Path) -> None:
    path = folder(tmp_path, metric="macro_f1")
    assert metric_between(contest(path)) == "loss"
    assert [place.mean for line in between(contest(path)) for place in line.places] == [1.0] * 6


def test_it_stands_in_the_report(measured: Path, reported: Reported) -> None:
    write_report(measured)
    (lora,) = (line for line in between(contest(measured)) if line.method == "lora")
    middle = lora.places[1]
    assert middle.interval is not None
    low, high = (f"{end * 100:.1f}" for end in middle.interval)
    text = (measured / "report.md").read_text("utf-8")
    assert "| method | 0 | 0.5 | 1 |\n| --- | ---: | ---: | ---: |\n" in text
    assert f" {middle.mean * 100:.1f} ({low} to {high}) |" in text
    page = (measured / "report.html").read_text("utf-8")
    assert f'<td class="n">{middle.mean * 100:.1f}<small>{low} to {high}</small></td>' in page
    assert f"lora at 0.5: {middle.mean * 100:.1f} %, {low} to {high}, 3 runs" in page
    assert (measured / "plots" / "mini-bert.synthetic.interpolation.png").stat().st_size > 1000
    none = (reported("one_seed") / "report.html").read_text("utf-8")
    assert "Between the original and the trained model" not in none
