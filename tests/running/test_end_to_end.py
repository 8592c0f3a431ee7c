"""A tiny study through the real command, in a process of its own: results, predictions, verdict,
report; extended by a method; and runs that crash, run out of memory or diverge, as results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.running.tiny_study import tiny_study
from tuneoff.ledger import Ledger

METHOD = '''
"""A method that breaks in its forward pass: {what}."""
from typing import ClassVar
from tuneoff.methods import Method, Rates


class {name}(Method):
    rates: ClassVar = {{"encoder": Rates(1e-3, (1e-4, 1e-3, 1e-2))}}

    def build(self, backbone, generator):
        import torch
        from tuneoff.backbones.sites import Hook

        class Broken(Hook):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(2, 2))

            def after(self, x, y, site):
                {does}

        site = backbone.select("query")[0]
        return {{site.name: Broken()}}
'''


BROKEN = {
    "crash": 'raise ZeroDivisionError("a bug")',
    "hungry": 'raise MemoryError("too much")',
    "dying": "import os; os.kill(os.getpid(), 11)",
}


def tuneoff(
    *words: str, folder: Path, plugins: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TUNEOFF_CACHE": str(folder / "cache")}
    if plugins is not None:
        environment["TUNEOFF_PLUGINS"] = str(plugins)
    return subprocess.run(
        [sys.executable, "-m", "tuneoff", *words],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=300,
        check=False,
    )


def write_study(folder: Path, **changes: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tiny_study(folder, **changes)))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of three methods and two seeds, with probes."""
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder, tuning={"probes": 2})
    done = tuneoff("run", str(study), "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_a_study_ends_with_results_and_an_answer(finished: Path) -> None:
    ledger = Ledger(finished)
    records = ledger.records()
    assert {(r["method"], r["seed"], r["status"]) for r in records} == {
        (method, seed, "done") for method in ("lora", "bitfit", "last_layer") for seed in (0, 1)
    }
    for record in records:
        assert len(ledger.predictions(record["run_id"], "test")["row"]) == 40
        assert record["cost"]["measured"] == "solo"
        assert record["cost"]["step_seconds"] > 0
        assert record["cost"]["train_seconds"] > 0
        assert record["cost"]["peak_memory_bytes"] > 0
    verdict = json.loads((finished / "verdict.json").read_text())
    assert verdict["contests"][0]["n_test"] == 40
    for name in ("report.html", "report.md", "results.csv", "study.yaml", "plan.json"):
        assert (finished / name).stat().st_size > 0
    assert not list(finished.glob("checkpoints/*"))


def test_probes_are_equal_in_number_and_never_see_the_test_split(finished: Path) -> None:
    probes = Ledger(finished).probes()
    counts = dict.fromkeys(("lora", "bitfit", "last_layer"), 0)
    for probe in probes:
        counts[probe["method"]] += 1
        assert set(probe["metrics"]) == {"validation"}
    assert set(counts.values()) == {2}

    def chosen(method: str) -> float:
        """Of the rates within a standard error of the best accuracy, the one of least loss."""
        own = [p for p in probes if p["method"] == method]
        top = max(p["metrics"]["validation"]["accuracy"] for p in own)
        error = (top * (1 - top) / own[0]["data"]["validation"]) ** 0.5
        near = [p for p in own if p["metrics"]["validation"]["accuracy"] >= top - error]
        return min(near, key=lambda p: p["metrics"]["validation"]["loss"])["learning_rate"]

    best = {method: chosen(method) for method in counts}
    used = {r["method"]: r["learning_rate"] for r in Ledger(finished).records()}
    assert used == best


def test_a_study_that_is_extended_runs_only_what_is_new(finished: Path) -> None:
    folder = finished.parent
    before = (finished / "results.jsonl").read_text()
    methods = ["lora", "bitfit", "last_layer", "layernorm"]
    study = write_study(folder, tuning={"probes": 2}, methods=methods)
    done = tuneoff("run", str(study), "--out", "out", folder=folder)
    assert done.returncode == 0, done.stderr
    after = (finished / "results.jsonl").read_text()
    assert after.startswith(before)
    new = [json.loads(line) for line in after[len(before) :].splitlines()]
    assert {(r["method"], r["seed"]) for r in new} == {("layernorm", 0), ("layernorm", 1)}


def test_what_breaks_is_a_result_and_the_rest_finishes(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins" / "methods"
    plugins.mkdir(parents=True)
    for name, does in BROKEN.items():
        text = METHOD.format(what=name, name=name.title(), does=does)
        (plugins / f"{name}.py").write_text(text)
    wild = {"method": "full", "name": "wild", "learning_rate": 1e6}
    study = write_study(tmp_path, seeds=[0], methods=["bitfit", *BROKEN, wild])
    done = tuneoff("run", str(study), "--out", "out", folder=tmp_path, plugins=plugins.parent)
    assert done.returncode == 0, done.stderr
    records = {record["method"]: record for record in Ledger(tmp_path / "out").records()}
    assert records["bitfit"]["status"] == "done"
    assert records["crash"]["status"] == "failed"
    assert "ZeroDivisionError: a bug" in records["crash"]["reason"]
    assert records["hungry"]["status"] == "out_of_memory"
    assert any("passes of at most" in note for note in records["hungry"]["retries"])
    assert records["dying"]["status"] == "failed"
    assert "SIGSEGV" in records["dying"]["reason"]
    assert records["wild"]["status"] == "diverged"
    for name in ("crash", "hungry", "dying", "wild"):
        assert "test" not in records[name]["metrics"]
    assert "ZeroDivisionError" in "".join(p.read_text() for p in (tmp_path / "out/logs").glob("*"))
    failures = json.loads((tmp_path / "out/verdict.json").read_text())["contests"][0]["methods"]
    assert sum(method["n_failed"] for method in failures) == 4
