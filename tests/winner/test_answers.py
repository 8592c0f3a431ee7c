"""Winners of tasks that answer in texts, spans, words or losses: saved, loaded again, asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from tests.winner.answer_study import run_study
from tuneoff.errors import DataError
from tuneoff.ledger import Ledger
from tuneoff.winner import check as check_module
from tuneoff.winner import fresh
from tuneoff.winner.check import CheckError
from tuneoff.winner.export import export_winner
from tuneoff.winner.generation_file import FILE as GENERATION
from tuneoff.winner.manifest import read_manifest
from tuneoff.winner.predict import predict
from tuneoff.winner.tensors import read_tensors, write_tensors

SPOKEN = {"text", "context", "question", "instruction", "lines"}
CASES = [
    # task, backbone, method, form, settings of the backbone
    ("span", "bert", "lora", "peft", {}),
    ("span", "gpt2", "full", "model", {"implementation": "own"}),
    ("written_answer", "t5", "last_layer", "model", {}),
    ("summarization", "t5", "lora", "peft", {}),
    ("summarization", "bert", "lora", "peft", {}),
    ("summarization", "bert", "lora", "model", {"new_cross_attention": "frozen"}),
    ("summarization", "gpt2", "lora", "model", {}),
    ("summarization", "gpt2", "qlora", "hooks", {}),
    ("instruction", "gpt2", "lora", "peft", {"implementation": "own"}),
    ("instruction", "gpt2", "qlora", "peft", {}),
    ("continuation", "gpt2", "adapter", "hooks", {}),
    ("language_modelling", "gpt2", "last_layer", "model", {}),
    ("cloze", "gpt2", "lora", "peft", {}),
]
IDS = ["-".join([*case[:3], *case[4].values()]) for case in CASES]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def nearby(monkeypatch):
    """The check's work in this process: a fresh one costs ten seconds."""
    monkeypatch.setattr(check_module, "_run", lambda request: fresh.main(str(request)))


def new_rows(study: Path, folder: Path) -> Path:
    """The rows of test, without anything of an answer."""
    rows = [json.loads(line) for line in (study.parent / "test.jsonl").read_text().splitlines()]
    path = folder / "new.jsonl"
    kept = [{name: row[name] for name in SPOKEN} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return path


def predicted(winner: Path, rows: Path, output: Path, **settings: Any) -> list[dict[str, Any]]:
    predict(winner, rows, output, **settings)
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize(("task", "architecture", "method", "form", "backbone"), CASES, ids=IDS)
def test_a_winner_answers_as_its_run_did(
    task, architecture, method, form, backbone, tmp_path, nearby, capsys
):
    study = run_study(tmp_path / "study", task, architecture, [method], backbone)
    winner = export_winner(study)
    check = json.loads((winner / "check.json").read_text())
    assert check["passed"], check["failures"]
    assert read_manifest(winner).form == form
    looks = [check["reloaded"], *([check["library"]] if form != "hooks" else [])]
    for look in looks:
        assert look["rows"] >= 10
        assert look["predictions_differ"] == look["losses_differ"] == 0
        close = 1e-5 if "qlora" not in method else 5e-2  # a library's own 4-bit kernel
        assert look["max_loss_difference"] < close
    if task == "summarization":
        said = json.loads((winner / GENERATION).read_text())
        assert (said["num_beams"], said["min_new_tokens"], said["max_new_tokens"]) == (2, 2, 6)
    if form != "model":
        assert check["without_adapter"]["max_loss_difference"] > 1e-6
    record = Ledger(study).records()[0]
    if "value" in check["merged"]:
        score = record["metrics"]["test"][record["primary_metric"]]
        assert check["merged"]["unmerged"] == pytest.approx(score, rel=1e-6)
        assert abs(check["merged"]["difference"]) < 1e-5 * max(1, score)
    _asked_anew(study, winner, record, tmp_path)
    _card(winner, capsys)


def _asked_anew(study: Path, winner: Path, record: Any, tmp_path: Path) -> None:
    """New rows, which have no answers, are answered as the run answered them."""
    rows = new_rows(study, tmp_path)
    found = predicted(winner, rows, tmp_path / "out.jsonl")
    recorded = Ledger(study).predictions(record["run_id"], "test")
    contexts = [json.loads(line) for line in rows.read_text().splitlines()]
    if "text" in recorded:
        assert [row["prediction"] for row in found] == list(recorded["text"])
        assert len(set(recorded["text"])) > 1, "one text for all rows would show little"
        for row, given in zip(found, contexts, strict=True):
            if "answer_start" in row:
                answer = given["context"][row["answer_start"] : row["answer_end"]]
                assert answer == row["prediction"] != ""
    elif "probabilities" in recorded:
        names = record["classes"]
        assert [row["prediction"] for row in found] == [names[i] for i in recorded["prediction"]]
        shares = [[row[f"probability_{name}"] for name in names] for row in found]
        np.testing.assert_allclose(shares, np.stack(recorded["probabilities"]), atol=2e-6)
    else:  # the run's blocks went over the ends of texts, and a row's do not
        for row, given in zip(found, contexts, strict=True):
            loss, tokens = _transformers_loss(winner, given["text"], length=12)
            assert row["loss"] == pytest.approx(loss, abs=1e-5)
            assert row["perplexity"] == pytest.approx(np.exp(loss), rel=1e-4)
            assert row["tokens"] == tokens
        assert np.std([row["loss"] for row in found]) > 0.01


def _transformers_loss(winner: Path, text: str, length: int) -> tuple[float, int]:
    """transformers' own loss of a text in blocks, the token that ends it included; mean over
    tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(winner).eval()
    tokenizer = AutoTokenizer.from_pretrained(winner)
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    blocks = [ids[at : at + length] for at in range(0, len(ids), length)]
    total, tokens = 0.0, 0
    for block in (torch.tensor([one]) for one in blocks if len(one) > 1):
        with torch.no_grad():
            total += float(model(block, labels=block).loss) * (block.shape[1] - 1)
        tokens += block.shape[1] - 1
    return total / tokens, tokens


def _card(winner: Path, capsys: Any) -> None:
    """The card is one, and its code runs as it stands."""
    card = ModelCard.load(winner / "README.md")
    assert "tuneoff predict" in card.text
    capsys.readouterr()
    for block in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        exec(compile(block.replace("FOLDER", str(winner)), "README.md", "exec"), {})
        assert capsys.readouterr().out.strip(" ") != ""


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_texts(tmp_path):
    study = run_study(tmp_path / "study", "summarization", "t5", ["ia3"])
    check = json.loads((export_winner(study) / "check.json").read_text())
    assert check["passed"]
    assert check["reloaded"]["texts"] == 10
    assert check["reloaded"]["texts_differ"] == check["library"]["texts_differ"] == 0
    assert check["merged"]["metric"] == "rougeL"


@pytest.mark.parametrize(("task", "architecture"), [("span", "bert"), ("instruction", "gpt2")])
def test_a_tampered_adapter_is_not_handed_over(task, architecture, tmp_path, nearby, monkeypatch):
    from tuneoff.winner import export
    from tuneoff.winner.forms import ADAPTER

    honest = export._save

    def tamper(out, run, folder, merge, device):
        saved = honest(out, run, folder, False, device)
        state = read_tensors(folder / ADAPTER)
        state = {k: v + 0.2 if "lora_B" in k else v for k, v in state.items()}
        write_tensors(folder / ADAPTER, state)
        return saved

    study = run_study(tmp_path / "study", task, architecture)
    monkeypatch.setattr(export, "_save", tamper)
    with pytest.raises(CheckError, match=r"the losses of \d+ of 16 rows differ"):
        export_winner(study)
    assert not (study / "winner").exists()


def test_texts_that_are_written_otherwise_fail_the_check(tmp_path, nearby, monkeypatch):
    """Weights and losses are right, and the settings of generation are not those of the run."""
    study = run_study(tmp_path / "study", "instruction", "gpt2")
    honest = fresh.work

    def otherwise(job):
        path = job.folder / "tuneoff.json"
        manifest = json.loads(path.read_text())
        manifest["task"]["settings"]["generation"] = {"max_new_tokens": 2}
        path.write_text(json.dumps(manifest))
        return honest(job)

    monkeypatch.setattr(fresh, "work", otherwise)
    with pytest.raises(CheckError, match=r"10 of 10 texts differ"):
        export_winner(study, merge=False)


def test_changed_rows_are_noticed(tmp_path, nearby):
    study = run_study(tmp_path / "study", "language_modelling", "gpt2", packed=False)
    path = study.parent / "test.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    short = json.dumps({**json.loads(first), "text": "w60 w61 w62"}) + "\n"
    path.write_text("".join([short, *others]))
    with pytest.raises(CheckError, match="the data changed since"):
        export_winner(study)


def test_rows_that_ask_nothing_are_named(tmp_path, nearby):
    study = run_study(tmp_path / "study", "span", "bert")
    winner = export_winner(study, merge=False)
    long = " ".join(f"w{number}" for number in range(60, 90))
    rows = [{"question": "the w70", "context": long}, {"question": long, "context": long}]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"new.jsonl line 2: the question leaves no room"):
        predict(winner, path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    path.write_text(json.dumps({"question": "the w70"}) + "\n")
    with pytest.raises(DataError, match="no column 'context'"):
        predict(winner, path, tmp_path / "out.jsonl")


def test_a_prompt_that_is_too_long_is_named_and_an_input_may_be_missing(tmp_path, nearby):
    study = run_study(tmp_path / "study", "instruction", "gpt2")
    winner = export_winner(study, merge=False)
    manifest = json.loads((winner / "tuneoff.json").read_text())
    manifest["data"]["texts"].append("input")
    (winner / "tuneoff.json").write_text(json.dumps(manifest))
    path = tmp_path / "new.jsonl"
    rows = [{"instruction": "the w60"}, {"instruction": "w70 " * 90}]
    path.write_text(json.dumps(rows[0]) + "\n")
    assert len(predicted(winner, path, tmp_path / "out.jsonl")) == 1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"line 2: nothing to answer \(prompt longer than"):
        predict(winner, path, tmp_path / "out.jsonl")


def test_squads_own_files_are_asked_as_they_are(tmp_path, nearby):
    study = run_study(tmp_path / "study", "span", "bert")
    winner = export_winner(study, merge=False)
    manifest = json.loads((winner / "tuneoff.json").read_text())
    manifest["data"] |= {"dataset": "squad", "reading": {}}
    (winner / "tuneoff.json").write_text(json.dumps(manifest))
    rows = [json.loads(line) for line in new_rows(study, tmp_path).read_text().splitlines()]
    paragraphs = [
        {"context": row["context"], "qas": [{"id": str(i), "question": row["question"]}]}
        for i, row in enumerate(rows)
    ]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    found = predicted(winner, path, tmp_path / "out.jsonl", keep=["id"])
    recorded = Ledger(study).predictions(Ledger(study).records()[0]["run_id"], "test")
    assert [row["prediction"] for row in found] == list(recorded["text"])
    assert [row["id"] for row in found] == [str(i) for i in range(len(rows))]
