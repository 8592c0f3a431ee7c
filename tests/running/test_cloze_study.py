"""A cloze goes through a whole study: accuracy, predictions, verdict and report, on both kinds of
backbone that can answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.running.test_end_to_end import tuneoff, write_study
from tests.running.tiny_study import write_csv
from tuneoff.ledger import Ledger


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.backbones.tiny import save

    folder = tmp_path_factory.mktemp("cloze")
    save("gpt2", folder / "gpt2", "causal_lm")
    write_csv(folder / "rows.csv", 120)
    task = {
        "name": "words",
        "task": "cloze",
        "template": "w1 {text} w2",
        "verbalizers": {"low": "w20", "high": "w21"},
        "data": {"dataset": "csv", "train": str(folder / "rows.csv")},
    }
    study = write_study(
        folder, architecture="gpt2", tasks=[task], methods=[{"lora": {"learning_rate": 0.003}}]
    )
    done = tuneoff("run", str(study), "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_results_are_those_of_a_classifier(finished):
    ledger = Ledger(finished)
    records = ledger.records()
    assert [record["status"] for record in records] == ["done", "done"]
    for record in records:
        assert record["classes"] == ["high", "low"]
        test = record["metrics"]["test"]
        rows = ledger.predictions(record["run_id"], "test")
        assert test["accuracy"] == pytest.approx(np.mean(rows["label"] == rows["prediction"]))
        assert test["loss"] == pytest.approx(np.mean(rows["loss"]))
        assert np.sum(test["confusion_matrix"]) == len(rows["row"])
        shares = np.stack(rows["probabilities"])
        assert shares.shape[1] == 2
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
        assert (shares.argmax(1) == rows["prediction"]).all()
        losses = [point["train_loss"] for point in record["history"]]
        # each word is one of a hundred at first
        assert losses[-1] < losses[0] < np.log(100) + 0.5


def test_there_is_a_verdict_and_a_report(finished):
    (contest,) = json.loads((finished / "verdict.json").read_text())["contests"]
    assert contest["metric"] == "accuracy"
    assert contest["best"] == "lora"
    assert 0.4 < contest["majority_baseline"] < 1
    assert "confusion" in (finished / "report.html").read_text().lower()
