"""From a study's folder to a winner that was loaded again in a fresh process."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from peft import PeftModel

from tests.winner.study_folder import run_study
from tuneoff.errors import LedgerError, TuneoffError
from tuneoff.ledger import Ledger
from tuneoff.winner import check as check_module
from tuneoff.winner import fresh
from tuneoff.winner.check import CheckError
from tuneoff.winner.export import export_winner
from tuneoff.winner.manifest import read_manifest
from tuneoff.winner.tensors import load_tensors, read_tensors, save_tensors, write_tensors


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return run_study(tmp_path_factory.mktemp("study"), ["lora", "adapter", "full"], best="lora")


def test_the_verdicts_winner_is_saved_checked_and_merged(study):
    folder = export_winner(study)
    assert folder == study / "winner"
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"]
    assert check["rows"] == {"test": 30, "validation": 20}
    for part in ("reloaded", "library"):
        assert check[part]["predictions_differ"] == 0
        assert check[part]["max_probability_difference"] < 1e-5
    assert check["library"]["with"] == "PeftModel.from_pretrained"
    assert check["without_adapter"]["max_probability_difference"] > 0
    assert check["head"]["saved"]
    assert {"classifier", "bert.pooler.dense"} == set(check["head"]["sites"])
    merged = check["merged"]
    assert merged["predictions_differ"] == 0
    assert abs(merged["difference"]) < 1e-12
    record = Ledger(study).records()[0]
    assert merged["value"] == pytest.approx(record["metrics"]["test"]["accuracy"])
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "peft"
    assert card.data.eval_results
    assert "lora" in card.data.tags
    for fixed in ("Use lora.", "PeftModel", "tuneoff predict", "reviews"):
        assert fixed in card.text
    assert "| **lora** |" in card.text
    assert not list(study.glob(".winner*"))


@pytest.fixture
def nearby(monkeypatch):
    """The check's work in this process: a fresh one costs ten seconds."""
    monkeypatch.setattr(check_module, "_run", lambda request: fresh.main(str(request)))


@pytest.mark.slow
def test_a_fresh_process_finds_a_tampered_adapter(study, monkeypatch):
    _tampered(study, monkeypatch)


def test_a_tampered_adapter_is_not_handed_over(study, monkeypatch, nearby):
    _tampered(study, monkeypatch)


def _tampered(study, monkeypatch):
    from tuneoff.winner import export
    from tuneoff.winner.forms import ADAPTER

    honest = export._save

    def tamper(out, run, folder, merge, device):
        saved = honest(out, run, folder, False, device)
        state = read_tensors(folder / ADAPTER)
        write_tensors(folder / ADAPTER, {k: v + 0.2 if "lora_B" in k else v
                                         for k, v in state.items()})  # fmt: skip
        return saved

    monkeypatch.setattr(export, "_save", tamper)
    with pytest.raises(CheckError, match="probabilities differ"):
        export_winner(study, to=study / "other")
    assert not (study / "other").exists()
    check = json.loads((study / "other.failed" / "check.json").read_text())
    assert not check["passed"]
    assert check["failures"]
    assert not (study / "other.failed" / "README.md").exists()


def test_the_cards_code_runs_as_it_stands(study, nearby, capsys):
    folder = export_winner(study, to=study / "shown")
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2  # PEFT, and merged
    printed = []
    for block in blocks:
        code = block.replace("FOLDER", str(folder)).replace("first text", "w10 w11 w40")
        exec(compile(code, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert any(name in printed[0] for name in ("bad", "fair", "good"))


def test_a_method_that_cannot_be_merged_keeps_its_own_form(study, nearby):
    folder = export_winner(study, method="adapter", to=study / "adapter")
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"]
    assert "cannot be folded" in check["merged"]["skipped"]
    assert "library" not in check
    assert (folder / "tuneoff_hooks.safetensors").exists()


def test_full_fine_tuning_is_a_model(study, nearby):
    run = next(one for one in Ledger(study).records() if one["method"] == "full")
    folder = export_winner(study, run_id=run["run_id"], to=study / "full")
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"]
    assert check["library"]["with"] == "AutoModelForSequenceClassification.from_pretrained"
    assert (folder / "model.safetensors").exists()
    assert ModelCard.load(folder / "README.md").data.library_name == "transformers"


def test_faults_are_said_before_anything_is_written(study):
    with pytest.raises(LedgerError, match="did you mean 'lora'"):
        export_winner(study, method="lorra")
    with pytest.raises(LedgerError, match="no run 'nonsense'"):
        export_winner(study, run_id="nonsense")
    with pytest.raises(TuneoffError, match="not a model that tuneoff saved"):
        export_winner(study, to=study / "predictions")
    with pytest.raises(LedgerError, match="no results"):
        export_winner(study / "nowhere")


def test_changed_data_are_noticed(study):
    path = study.parent / "test.csv"
    old = path.read_text()
    path.write_text(old.replace(";bad", ";x").replace(";good", ";bad").replace(";x", ";good"))
    try:
        with pytest.raises(TuneoffError, match="the data changed since"):
            export_winner(study, to=study / "never")
    finally:
        path.write_text(old)


def test_lost_tensors_are_named(study):
    run = Ledger(study).records()[0]["run_id"]
    tensors = load_tensors(study, run)
    path = study / "tensors" / f"{run}.safetensors"
    path.unlink()
    try:
        with pytest.raises(LedgerError, match=f"{run}.safetensors"):
            export_winner(study, to=study / "never")
    finally:
        save_tensors(study, run, tensors)


def test_a_folder_that_cannot_be_loaded_fails_its_check(study, monkeypatch, nearby):
    from tuneoff.winner import export

    def broken(request):
        raise CheckError("cannot be loaded in a fresh process (exit status 1)")

    monkeypatch.setattr(check_module, "_run", broken)
    with pytest.raises(CheckError, match="cannot be loaded"):
        export.export_winner(study, to=study / "broken")
    assert not (study / "broken").exists()


def test_qlora_is_merged_into_dequantized_weights_and_rounded_again(tmp_path, nearby):
    out = run_study(tmp_path, ["qlora"])
    folder = export_winner(out)
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"]
    merged = check["merged"]
    assert merged["weights"] == "float32, dequantized from nf4"
    assert merged["max_probability_difference"] < 1e-4
    again = merged["requantized"]
    assert again["quantization"] == "nf4"
    assert again["max_probability_difference"] > merged["max_probability_difference"]
    assert "BitsAndBytesConfig" in (folder / "README.md").read_text()


def test_each_contest_has_a_folder(study, tmp_path, nearby):
    """A second contest that is the first one under another name."""
    shutil.copytree(study, tmp_path / "two", ignore=shutil.ignore_patterns("winner*", "other*"))
    two = tmp_path / "two"
    verdict = json.loads((two / "verdict.json").read_text())
    verdict["contests"].append({**verdict["contests"][0], "task": "again", "methods": []})
    (two / "verdict.json").write_text(json.dumps(verdict))
    lines = (two / "results.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record |= {"task": "again", "run_id": record["run_id"] + "b"}
    (two / "results.jsonl").write_text("\n".join([*lines, json.dumps(record)]) + "\n")
    for kind, ending in (("predictions", "parquet"), ("tensors", "safetensors")):
        first = two / kind / f"{record['run_id'][:-1]}.{ending}"
        shutil.copy(first, two / kind / f"{record['run_id']}.{ending}")
    folder = export_winner(two, merge=False)
    assert {path.name for path in folder.iterdir()} == {"tiny-reviews", "tiny-again"}
    with pytest.raises(TuneoffError, match="tiny-again, tiny-reviews"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("settings", "merges"),
    [
        ({"peft_type": "LOHA", "r": 4, "alpha": 8, "target_modules": ["query", "value"]}, True),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, False),
    ],
)
def test_any_method_of_peft_is_handed_over_too(tmp_path, nearby, settings, merges):
    study = run_study(tmp_path, [{"peft": settings}])
    folder = export_winner(study)
    check = json.loads((folder / "check.json").read_text())
    assert check["passed"], check["failures"]
    assert check["library"]["with"] == "PeftModel.from_pretrained"
    assert check["library"]["max_probability_difference"] < 1e-5
    assert check["without_adapter"]["max_probability_difference"] > 1e-4
    assert ("value" in check["merged"]) == merges


def test_tampered_tensors_of_a_peft_method_fail_the_check(tmp_path, nearby, monkeypatch):
    study = run_study(tmp_path, [{"peft": {"peft_type": "LOHA", "r": 4}}])
    save = PeftModel.save_pretrained

    def tampering(self, folder, **kwargs):
        save(self, folder, **kwargs)
        weights = Path(folder) / "adapter_model.safetensors"
        write_tensors(weights, {k: v + 0.5 for k, v in read_tensors(weights).items()})

    monkeypatch.setattr(PeftModel, "save_pretrained", tampering)
    with pytest.raises(CheckError, match=r"(predictions|probabilities) differ"):
        export_winner(study)
