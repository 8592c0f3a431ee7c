"""Further test sets in the verdict and the report: changes from test with their intervals, by the
textbook's formulas, paired by run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.fixtures_ledger import make_folder
from tests.test_verdict import rewrite
from tuneoff.ledger import Ledger
from tuneoff.report import write_report
from tuneoff.verdict import make_verdict

CLASSES = ["no", "yes"]
N_TEST, N_SHIFT = 400, 250


def folder(path: Path, seeds: int, spread: float, paired: bool, **more: Any) -> Path:
    """Two methods whose seeds differ in quality by `spread`: the same on both sets, or not."""
    random = np.random.default_rng(0)
    labels = {"test": random.integers(0, 2, N_TEST), "shift:tweets": random.integers(0, 2, N_SHIFT)}
    with Ledger(path) as ledger:
        for method, strength in (("full", 0.85), ("lora", 0.8)):
            for seed in range(seeds):
                luck = spread * random.normal(size=2)
                columns: list[dict[str, np.ndarray]] = []
                metrics = {}
                for index, (split, truth) in enumerate(labels.items()):
                    share = strength - 0.1 * index + luck[0 if paired else index]
                    wrong = random.permutation(len(truth)) >= round(share * len(truth))
                    answers = np.where(wrong, 1 - truth, truth)
                    metrics[split] = {"accuracy": float(np.mean(answers == truth)), "loss": 0.5}
                    columns.append(
                        {
                            "split": np.repeat(split, len(truth)),
                            "row": np.arange(len(truth)),
                            "label": truth,
                            "prediction": answers,
                            "loss": np.full(len(truth), 0.5),
                        }
                    )
                whole = {k: np.concatenate([one[k] for one in columns]) for k in columns[0]}
                ledger.append(_record(method, seed, metrics) | more, whole)
    return path


def _record(method: str, seed: int, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": f"{method}{seed}",
        "status": "done",
        "reason": None,
        "kind": "run",
        "study": "shifted",
        "backbone": "b",
        "task": "t",
        "method": method,
        "settings": {"method": {"name": method, "method": method}, "training": {}, "task": {}},
        "seed": seed,
        "learning_rate": 1e-3,
        "classes": CLASSES,
        "primary_metric": "accuracy",
        "metrics": metrics,
        "cost": {},
        "data": {
            "test": N_TEST,
            "shift:tweets": N_SHIFT,
            "fingerprint": "f",
            "leaks": [{"split": "shift:tweets", "other": "train", "count": 3}],
        },
    }


def judged(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The further test set of the only contest, and the contest."""
    (contest,) = make_verdict(path)["contests"]
    (one,) = contest["shift"]
    return one, contest


def test_the_change_is_the_difference_of_the_means(tmp_path: Path) -> None:
    one, contest = judged(folder(tmp_path, seeds=3, spread=0.03, paired=True))
    assert (one["name"], one["n_test"], one["notes"]) == ("tweets", N_SHIFT, [])
    main = {method["method"]: method for method in contest["methods"]}
    for method in one["methods"]:
        records = [r for r in Ledger(tmp_path).records() if r["method"] == method["method"]]
        scores = [record["metrics"]["shift:tweets"]["accuracy"] for record in records]
        assert method["mean"] == pytest.approx(np.mean(scores))
        assert method["per_seed"] == {str(seed): score for seed, score in enumerate(scores)}
        assert method["n"] == 3
        low, high = method["interval"]
        assert low < method["mean"] < high
        change = method["versus_test"]
        assert change["difference"] == pytest.approx(
            method["mean"] - main[method["method"]]["mean"]
        )
        assert change["interval"][1] < 0  # ten points are far outside of the noise
        assert change["p"] < 0.05


def test_with_one_seed_the_interval_is_that_of_two_samples_of_rows(tmp_path: Path) -> None:
    """Variances of two means add (Student's quantile of the smaller sample), and two rows more, as
    Bonett and Price have it for shares."""
    one, _ = judged(folder(tmp_path, seeds=1, spread=0.0, paired=True))
    for method in one["methods"]:
        parts = {}
        for split in ("test", "shift:tweets"):
            column = Ledger(tmp_path).predictions(method["run_ids"][0], split)
            parts[split] = (column["label"] == column["prediction"]).astype(float)
        by_rows = sum(np.var(part, ddof=1) / len(part) for part in parts.values())
        half = stats.t.ppf(0.975, N_SHIFT - 1) * np.sqrt(by_rows + 2 / (N_SHIFT + 2) ** 2)
        middle = parts["shift:tweets"].mean() - parts["test"].mean()
        found = method["versus_test"]["interval"]
        assert found == pytest.approx([middle - half, middle + half])
        alone = stats.t.ppf(0.975, N_SHIFT - 1) * np.sqrt(np.var(parts["test"]) / N_TEST)
        assert (found[1] - found[0]) / 2 > 1.2 * alone  # one sample's would be too narrow


def test_what_a_seed_does_to_both_sets_does_not_blur_the_change(tmp_path: Path) -> None:
    """Paired by run: the same luck on both leaves the change sharp; apart it does not."""
    widths = {}
    for paired in (True, False):
        one, contest = judged(folder(tmp_path / str(paired), 4, 0.06, paired))
        (full,) = (method for method in one["methods"] if method["method"] == "full")
        (main,) = (method for method in contest["methods"] if method["method"] == "full")
        low, high = full["versus_test"]["interval"]
        apart = np.hypot(np.diff(full["interval"])[0], np.diff(main["interval"])[0])
        widths[paired] = (high - low) / apart
    assert widths[True] < 0.75
    assert widths[False] > 0.75


def test_a_run_without_answers_there_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, seeds=2, spread=0.01, paired=True)

    def forget(record: dict[str, Any]) -> dict[str, Any]:
        if record["run_id"] == "lora1":
            record["metrics"]["shift:tweets"] = {}
        return record

    rewrite(path, forget)
    one, _ = judged(path)
    assert one["notes"] == ["run lora1 has no accuracy on shift:tweets; left out"]
    assert {method["method"]: method["n"] for method in one["methods"]} == {"full": 2, "lora": 1}


def test_nothing_is_made_up_where_there_is_no_such_set(tmp_path: Path) -> None:
    make_folder(tmp_path, methods=["full", "lora"])
    assert [contest["shift"] for contest in make_verdict(tmp_path)["contests"]] == [[]]
    write_report(tmp_path)
    assert "Under another distribution" not in (tmp_path / "report.html").read_text("utf-8")


def test_the_report_shows_both_sets_and_the_change(tmp_path: Path) -> None:
    one, contest = judged(folder(tmp_path, seeds=3, spread=0.02, paired=True))
    write_report(tmp_path)
    there = {method["method"]: method for method in one["methods"]}["lora"]
    main = {method["method"]: method for method in contest["methods"]}["lora"]
    low, high = (f"{abs(end) * 100:.1f}" for end in there["versus_test"]["interval"])
    change = f"−{abs(there['versus_test']['difference']) * 100:.1f}"
    text = (tmp_path / "report.md").read_text("utf-8")
    row = next(
        line for line in text.split("Under another")[1].splitlines() if line.startswith("| lora")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"{main['mean'] * 100:.1f}"
    assert cells[3] == f"{there['mean'] * 100:.1f}"
    assert cells[5].startswith(f"{change} (−{low} to −{high}; p ")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "further test set tweets" in page
    assert "250 rows; 3 stand in train too" in page
    assert f"lora on tweets: {there['mean'] * 100:.1f} %, {change} points" in page
    assert "shift:tweets_accuracy" in (tmp_path / "results.csv").read_text("utf-8")
    assert (tmp_path / "plots" / "b.t.shift.png").stat().st_size > 1000
