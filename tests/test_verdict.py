"""Verdicts of simulated folders: the form, the answers, the warnings, and what is left out."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures_ledger import METHODS, make_folder
from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger
from tuneoff.verdict import make_verdict

FAR = {"full": 0.9, "lora": 0.9, "ia3": 0.7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("study"), backbones=2, n_test=400)


@pytest.fixture(scope="module")
def verdict(folder):
    return make_verdict(folder)


def only(folder, **more):
    (contest,) = make_verdict(folder, **more)["contests"]
    return contest


def row(contest, method):
    return next(row for row in contest["methods"] if row["method"] == method)


def answer(contest, use):
    return next(answer for answer in contest["answers"] if answer["use"] == use)


def rewrite(folder, change, name="results.jsonl"):
    """Changes every record of a file; `change` returns the record, or None to drop it."""
    path = folder / name
    records = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in records if record))


def test_the_form_is_that_of_the_architecture(folder, verdict):
    assert json.loads((folder / "verdict.json").read_text()) == verdict
    assert [contest["backbone"] for contest in verdict["contests"]] == ["mini-bert", "tiny-gpt"]
    contest = verdict["contests"][0]
    promised = (
        "backbone task metric higher_is_better n_test seeds confidence_level headline "
        "noise_floor methods best tied_with_best answers warnings"
    )
    assert set(promised.split()) <= contest.keys()
    method = (
        "method n n_failed failures mean sd interval per_seed metrics versus_best versus_full "
        "cost learning_rate on_front"
    )
    versus = {"difference", "interval", "p", "p_corrected", "tied"}
    for entry in contest["methods"]:
        assert set(method.split()) <= entry.keys()
        assert entry["versus_best"] is None or versus <= entry["versus_best"].keys()
    uses = ["best_quality", "best_balance", "least_memory", "fastest", "smallest_to_store"]
    assert [answer["use"] for answer in contest["answers"]] == uses
    for entry in contest["answers"]:
        assert set(entry) == {"use", "method", "sentence", "reason", "confidence", "needs"}
        assert entry["confidence"] in ("high", "medium", "low")


def test_means_and_metrics_are_those_of_the_runs(folder, verdict):
    runs = [
        run
        for run in Ledger(folder).records("run")
        if (run["backbone"], run["method"]) == ("tiny-gpt", "lora")
    ]
    scores = [run["metrics"]["test"]["accuracy"] for run in runs]
    lora = row(verdict["contests"][1], "lora")
    assert lora["mean"] == pytest.approx(np.mean(scores))
    assert lora["sd"] == pytest.approx(np.std(scores, ddof=1))
    assert lora["per_seed"] == dict(zip("012", scores, strict=True))
    assert lora["interval"][0] < lora["mean"] < lora["interval"][1]
    losses = [run["metrics"]["test"]["loss"] for run in runs]
    assert lora["metrics"]["loss"]["mean"] == pytest.approx(np.mean(losses))
    assert "confusion_matrix" not in lora["metrics"]
    assert lora["cost"]["peak_memory_bytes"] == METHODS["lora"][4] * 1e6


def test_the_best_is_first_and_ties_agree_with_the_p_values(verdict):
    for contest in verdict["contests"]:
        finished = [entry for entry in contest["methods"] if entry["n"]]
        means = [entry["mean"] for entry in finished]
        assert means == sorted(means, reverse=True)
        assert finished[0]["method"] == contest["best"]
        for entry in finished:
            tied = entry["method"] in contest["tied_with_best"]
            assert (
                entry["versus_best"]["tied"]
                == tied
                == (entry["versus_best"]["p_corrected"] >= 0.05)
            )


def test_failures_are_in_the_table_with_their_reasons(verdict):
    contest = verdict["contests"][0]
    dora = contest["methods"][-1]
    assert (dora["method"], dora["n"], dora["mean"], dora["n_failed"]) == ("dora", 0, None, 2)
    assert {failure["status"] for failure in dora["failures"]} == {"out_of_memory", "skipped"}
    assert all(failure["reason"] for failure in dora["failures"])
    assert row(contest, "full")["failures"][0]["status"] == "diverged"
    assert any("full: 1 of 4 runs did not finish" in text for text in contest["warnings"])
    assert verdict["contests"][1]["methods"][-1]["n"] > 0


def test_a_planted_difference_is_found_and_said(tmp_path):
    contest = only(make_folder(tmp_path, methods=list(FAR), strengths=FAR, failures=False))
    assert "ia3" not in contest["tied_with_best"]
    assert set(contest["tied_with_best"]) == {"full", "lora"}
    assert contest["headline"].startswith("Use lora (learning rate 0.0003): ")
    assert "ia3 is worse by" in contest["headline"]
    assert "x less memory" in contest["headline"] or contest["best"] == "lora"
    assert answer(contest, "best_balance")["method"] == "lora"
    assert answer(contest, "least_memory")["method"] == "ia3"
    assert "points below" in answer(contest, "least_memory")["sentence"]
    assert answer(contest, "smallest_to_store")["method"] == "ia3"
    assert contest["noise_floor"]["sentence"].startswith("Differences below ")


def test_no_planted_difference_is_a_tie(tmp_path):
    equal = dict.fromkeys(FAR, 0.85)
    contest = only(make_folder(tmp_path, methods=list(FAR), strengths=equal, failures=False))
    assert len(contest["tied_with_best"]) == 3
    assert answer(contest, "best_quality")["needs"]
    assert answer(contest, "best_quality")["confidence"] == "low"


def test_what_is_probably_worse_is_not_recommended(tmp_path):
    """Tied only by correction: named as doubtful, and not the best balance though it is cheaper."""
    contest = only(make_folder(tmp_path, n_test=3000, seed=3, failures=False))
    qlora = row(contest, "qlora")["versus_best"]
    assert qlora["tied"]
    assert qlora["interval"][1] < 0
    assert answer(contest, "best_balance")["method"] == "lora"
    assert "Use lora" in contest["headline"]
    assert "qlora" not in contest["headline"]


@pytest.mark.parametrize(("saving", "chosen"), [(1.1, "full"), (2.0, "lora")])
def test_a_small_saving_is_not_worth_a_doubt(saving, chosen, tmp_path):
    near = {"full": 0.87, "lora": 0.855}
    folder = make_folder(tmp_path, methods=list(near), strengths=near, failures=False)

    def cost(record):
        memory = 1e9 / (saving if record["method"] == "lora" else 1.0)
        record["cost"].update(peak_memory_bytes=memory, train_seconds=60.0)
        return record

    for name in ("results.jsonl", "profiles.jsonl"):
        rewrite(folder, cost, name)
    contest = only(folder)
    assert contest["best"] == "full"
    assert contest["tied_with_best"] == ["full", "lora"]
    assert answer(contest, "best_balance")["method"] == chosen


def test_an_unsteady_method_is_no_equal(tmp_path):
    """One collapsed seed of three: the interval holds zero, and it is not recommended for that."""
    near = {"full": 0.87, "lora": 0.855, "ia3": 0.85}
    folder = make_folder(tmp_path, methods=list(near), strengths=near, failures=False)
    ledger = Ledger(folder)
    victim = next(r for r in ledger.records("run") if r["method"] == "ia3" and r["seed"] == 1)
    columns = ledger.predictions(victim["run_id"])
    columns["prediction"] = (columns["label"] + 1) % len(victim["classes"])
    with Ledger(folder) as writer:
        writer.append(victim, columns)
    contest = only(folder)
    assert "ia3" in contest["tied_with_best"]
    assert answer(contest, "least_memory")["method"] == "ia3"
    assert answer(contest, "best_balance")["method"] != "ia3"


def test_needs_names_seeds_and_minutes(tmp_path):
    near = {"full": 0.90, "lora": 0.885}
    folder = make_folder(tmp_path, methods=list(near), strengths=near, failures=False, n_test=2500,
                         seeds=(0, 1))  # fmt: skip
    needs = [answer(only(folder), use)["needs"] for use in ("best_quality", "best_balance")]
    assert any("would settle it, about" in (text or "") for text in needs), needs


def test_a_cost_that_was_not_measured_never_wins(tmp_path):
    folder = make_folder(tmp_path, methods=list(FAR), failures=False)

    def forget(record):
        if record["method"] == "ia3":
            record["cost"].update(peak_memory_bytes=None, train_seconds=None)
        return record

    rewrite(folder, forget)
    contest = only(folder)
    least = answer(contest, "least_memory")
    assert least["method"] == "lora"
    assert "ia3" in least["needs"]
    assert "peak_memory_bytes" not in row(contest, "ia3")["cost"]
    assert not row(contest, "ia3")["on_front"]["peak_memory_bytes"]
    assert any("was not measured" in text for text in contest["warnings"])

    rewrite(folder, lambda record: record | {"cost": {}})
    (folder / "profiles.jsonl").unlink()
    contest = only(folder)
    assert answer(contest, "least_memory")["method"] is None
    assert answer(contest, "best_balance")["method"] is None


def test_a_cohorts_cost_is_replaced_by_the_solo_profile(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False)

    def shared(record):
        record["cost"].update(measured="cohort", peak_memory_bytes=9e12, train_seconds=1e9)
        return record

    rewrite(folder, shared)
    assert row(only(folder), "lora")["cost"]["peak_memory_bytes"] == 520e6
    rewrite(folder, lambda record: record | {"cost": None, "reason": "crash"}, "profiles.jsonl")
    cost = row(only(folder), "lora")["cost"]
    assert "peak_memory_bytes" not in cost
    assert cost["trainable_parameters"] > 0


def test_one_seed_says_so(tmp_path):
    contest = only(make_folder(tmp_path, methods=["full", "lora"], failures=False, seeds=(0,)))
    assert any(text.startswith("One seed per method") for text in contest["warnings"])
    assert contest["noise_floor"]["value"] is None
    assert row(contest, "lora")["sd"] is None
    assert "With one seed per method" in contest["headline"]
    assert answer(contest, "best_quality")["confidence"] == "low"


def test_one_method_has_nothing_to_be_compared_with(tmp_path):
    contest = only(make_folder(tmp_path, methods=["lora"], failures=False))
    assert contest["headline"].startswith("Only lora finished")
    assert row(contest, "lora")["versus_full"] is None


def test_nothing_finished_is_a_verdict_too(tmp_path):
    folder = make_folder(tmp_path, methods=["full"], seeds=(0,))
    rewrite(folder, lambda record: record if record["status"] != "done" else None)
    contest = only(folder)
    assert contest["headline"].startswith("No method finished: ")
    assert contest["best"] is None
    assert contest["answers"] == []
    assert {entry["method"] for entry in contest["methods"]} == {"full", "dora"}


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(LedgerError, match="tuneoff run"):
        make_verdict(tmp_path)


def test_lower_is_better(tmp_path):
    folder = make_folder(tmp_path, methods=list(FAR), strengths=FAR, failures=False)
    rewrite(folder, lambda record: record | {"primary_metric": "loss"})
    contest = only(folder)
    assert contest["higher_is_better"] is False
    assert contest["best"] in ("full", "lora")
    assert contest["methods"][-1]["method"] == "ia3"
    assert row(contest, "ia3")["versus_best"]["difference"] > 0
    assert not row(contest, "ia3")["versus_best"]["tied"]
    assert "points" not in contest["headline"]


def test_macro_f1_decides_where_it_is_primary(tmp_path):
    folder = make_folder(tmp_path, methods=list(FAR), strengths=FAR, failures=False)
    rewrite(folder, lambda record: record | {"primary_metric": "macro_f1"})
    contest = only(folder)
    lora = row(contest, "lora")
    assert lora["mean"] == pytest.approx(lora["metrics"]["macro_f1"]["mean"])
    assert not row(contest, "ia3")["versus_best"]["tied"]


def test_stale_runs_are_named_and_not_mixed_in(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False)
    before = only(folder)
    runs = Ledger(folder).records()
    old = runs[3] | {"run_id": "old"}
    columns = Ledger(folder).predictions(runs[3]["run_id"])
    columns["prediction"] = 1 - columns["label"].clip(0, 1)
    other = runs[4] | {"run_id": "other", "data": {"fingerprint": "another"}, "seed": 9}
    with Ledger(folder) as ledger:
        path = folder / "results.jsonl"
        content = path.read_text()
        path.write_text("")
        ledger.append(old, columns)
        ledger.append(other, columns)
        path.write_text(path.read_text() + content)
    after = only(folder)
    assert row(after, "lora")["mean"] == row(before, "lora")["mean"]
    (text,) = [text for text in after["warnings"] if "stale" in text]
    assert "old" in text
    assert "other" in text
    wanted = [run["run_id"] for run in runs if run["method"] == "full"]
    assert [entry["method"] for entry in only(folder, run_ids=wanted)["methods"]] == ["full"]


def test_a_run_on_other_rows_or_without_predictions_is_a_failure(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False)
    runs = Ledger(folder).records()
    (folder / "predictions" / f"{runs[3]['run_id']}.parquet").unlink()
    columns = Ledger(folder).predictions(runs[4]["run_id"])
    columns["label"] = columns["label"][::-1]
    with Ledger(folder) as ledger:
        ledger.append(runs[4], columns)
    lora = row(only(folder), "lora")
    assert (lora["n"], lora["n_failed"]) == (1, 2)
    reasons = " ".join(failure["reason"] for failure in lora["failures"])
    assert "missing" in reasons
    assert "test rows are others" in reasons


def test_settings_of_one_method_are_contestants_of_their_own(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False)
    runs = [run for run in Ledger(folder).records() if run["method"] == "lora"]
    with Ledger(folder) as ledger:
        for run in runs:
            method = run["settings"]["method"] | {"rank": 64}
            settings = run["settings"] | {"method": method}
            columns = ledger.predictions(run["run_id"])
            ledger.append(run | {"run_id": f"{run['run_id']}b", "settings": settings}, columns)
    names = {entry["method"]: entry["n"] for entry in only(folder)["methods"]}
    assert names == {"full": 3, "lora rank=8": 3, "lora rank=64": 3}


def test_warnings_of_data_versions_and_rates(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False, n_test=60)
    assert not any("learning rate" in text for text in only(folder)["warnings"])

    def spoil(record):
        record["data"]["leaked_test_rows"] = 7
        if record["method"] == "lora":
            record["learning_rate"] = METHODS["lora"][2] * 3
            record["versions"]["torch"] = "9.9"
        return record

    rewrite(folder, spoil)
    text = "\n".join(only(folder)["warnings"])
    assert "lora: its learning rate 0.0009 is the highest of those probed" in text
    assert "torch (2.13.0, 9.9)" in text
    assert "7 test rows of 60 also stand in train" in text
    assert "test set is tiny (60 rows)" in text


def test_no_better_than_the_most_frequent_class_is_said(tmp_path):
    chance = {"full": 0.35, "lora": 0.34}
    contest = only(make_folder(tmp_path, methods=list(chance), strengths=chance, failures=False))
    assert any("most frequent class" in text for text in contest["warnings"])


def test_where_nothing_is_right_nothing_is_recommended(tmp_path):
    wrong = {"full": -9.0, "lora": -9.0}
    contest = only(make_folder(tmp_path, methods=list(wrong), strengths=wrong, failures=False))
    assert [method["mean"] for method in contest["methods"]] == [0.0, 0.0]
    assert contest["headline"].startswith("Use none of them yet: accuracy is 0 for full and lora")


def test_a_torn_ledger_is_said(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False)
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"run_id": "torn')
    assert "torn" in make_verdict(folder)["warnings"][0]


def test_a_verdict_loads_no_torch(tmp_path):
    folder = make_folder(tmp_path, methods=["full", "lora"], failures=False, n_test=50)
    program = (
        "import sys; from tuneoff.verdict import make_verdict; make_verdict(sys.argv[1]);"
        "assert not {'torch', 'transformers', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
