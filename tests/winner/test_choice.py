"""Which run is handed over."""

from __future__ import annotations

import json

import pytest

from tests.fixtures_ledger import make_folder
from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger
from tuneoff.winner.choice import choose, headline


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path, methods=["full", "lora"])


def verdict(folder, **changes):
    runs = {}
    for record in Ledger(folder).records("run"):
        if record["status"] == "done":
            runs.setdefault(record["method"], []).append(record["run_id"])
    contest = {
        "backbone": "mini-bert", "task": "synthetic", "best": "full",
        "answers": [{"use": "best_quality", "method": "full"},
                    {"use": "best_balance", "method": "lora"}],
        "methods": [{"method": name, "run_ids": ids} for name, ids in runs.items()], **changes,
    }  # fmt: skip
    (folder / "verdict.json").write_text(json.dumps({"contests": [contest]}))
    return runs


def test_the_best_balance_is_chosen_and_its_best_seed_on_validation(folder):
    verdict(folder)
    (choice,) = choose(folder)
    assert choice.record["method"] == "lora"
    scores = {
        record["seed"]: record["metrics"]["validation"]["accuracy"]
        for record in Ledger(folder).records("run")
        if record["method"] == "lora"
    }
    assert len(set(scores.values())) == 3
    assert choice.record["seed"] == max(scores, key=scores.__getitem__)
    assert "of 3 seeds, the best on validation" in choice.why


def test_without_a_best_balance_it_is_the_best(folder):
    verdict(folder, answers=[{"use": "best_balance", "method": None}])
    assert choose(folder)[0].record["method"] == "full"
    assert headline({}) == (None, "the verdict's best quality")


def test_runs_that_the_verdict_left_out_are_not_chosen(folder):
    """A setting under a label of its own, and stale runs that were better."""
    runs = verdict(folder)
    best = choose(folder)[0].record["run_id"]
    rest = [run for run in runs["lora"] if run != best]
    verdict(
        folder,
        methods=[{"method": "lora (rank 8)", "run_ids": rest}],
        answers=[{"use": "best_balance", "method": "lora (rank 8)"}],
    )
    assert choose(folder)[0].record["run_id"] in rest
    assert choose(folder, method="lora")[0].record["run_id"] in rest


def test_one_run_can_be_named_but_not_a_failed_one(folder):
    runs = verdict(folder)
    assert choose(folder, run_id=runs["full"][0])[0].record["run_id"] == runs["full"][0]
    failed = next(one for one in Ledger(folder).records() if one["status"] != "done")
    with pytest.raises(LedgerError, match=failed["status"]):
        choose(folder, run_id=failed["run_id"])
    with pytest.raises(LedgerError, match="no finished run"):
        choose(folder, method="dora")


def test_without_a_verdict_a_method_must_be_named(folder):
    with pytest.raises(LedgerError, match="tuneoff report"):
        choose(folder)
    assert choose(folder, method="full")[0].record["method"] == "full"
    verdict(folder)
    (folder / "verdict.json").write_text("{")
    with pytest.raises(LedgerError, match="cannot be read"):
        choose(folder)
