"""One new file is a new method, dataset, task or metric: those of the docs, run by the command."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backbones.tiny import save
from tests.running.tiny_study import write_csv
from tuneoff import registry

DOCS = Path(__file__).parents[1] / "docs"
NEW = {
    "methods": "gate",
    "datasets": "text_folders",
    "tasks": "star_rating",
    "metrics": "mean_distance",
}


def documented(kind: str) -> str:
    """The file that `docs/add-a-<kind>.md` shows, by the path in its first line."""
    page = (DOCS / f"add-a-{kind[:-1]}.md").read_text("utf-8")
    path = f"# tuneoff_plugins/{kind}/{NEW[kind]}.py"
    (code,) = re.findall(rf"```python\n{re.escape(path)}\n(.*?)```", page, re.DOTALL)
    return str(code)


def put(folder: Path, kind: str, name: str, code: str) -> Path:
    path = folder / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four documented files as plug-ins, and texts by class in `stars/`."""
    home = tmp_path_factory.mktemp("home")
    for kind, name in NEW.items():
        put(home / "mine", kind, name, documented(kind))
    table = write_csv(home / "rows.csv", rows=240).read_text().splitlines()[1:]
    for index, (text, label) in enumerate(line.split(",") for line in table):
        # a middle class beside the two of the table, so that there is an order to respect
        stars = "2" if index % 4 == 0 else {"low": "1", "high": "3"}[label]
        file = home / "stars" / stars / f"{index}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    save("bert", home / "bert", classes=3)
    return home


def tuneoff(*arguments: str, home: Path, plugins: str = "mine") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TUNEOFF_PLUGINS": str(home / plugins),
        "TUNEOFF_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    environment.pop("FORCE_COLOR", None)
    return subprocess.run(
        [sys.executable, "-m", "tuneoff", *arguments],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment,
        timeout=300,
        check=False,
    )


def test_list_and_show_know_the_four(home: Path) -> None:
    listed = json.loads(tuneoff("list", "--json", home=home).stdout)
    assert all(name in listed[kind] for kind, name in NEW.items())
    without = json.loads(tuneoff("list", "--json", home=home, plugins="absent").stdout)
    assert not any(name in without[kind] for kind, name in NEW.items())

    shown = tuneoff("show", "methods/gate", home=home)
    assert shown.returncode == 0, shown.stderr
    assert "one learned factor per feature" in shown.stdout
    assert "initial" in shown.stdout
    assert "1 changes nothing" in shown.stdout
    metric = json.loads(tuneoff("show", "metrics/mean_distance", "--json", home=home).stdout)
    assert "Mean distance" in metric[0]["text"]


def test_a_study_runs_with_all_four(home: Path) -> None:
    study: dict[str, Any] = {
        "name": "mine",
        "backbones": [{"name": "bert", "model": "./bert"}],
        "tasks": [
            {
                "task": "star_rating",
                "metric": "mean_distance",
                "data": {
                    "dataset": "text_folders",
                    "path": "stars",
                    "split": {"validation": 40, "test": 60},
                },
            }
        ],
        "methods": [{"gate": {"initial": 0.9}}, "last_layer"],
        "seeds": [0, 1],
        "training": {"max_steps": 8, "batch_size": 8, "evaluate_every": 4},
        "tuning": {"probes": 0},
        "device": "cpu",
    }
    (home / "study.json").write_text(json.dumps(study))  # JSON is YAML
    done = tuneoff("run", "study.json", "--out", "out", home=home)
    assert done.returncode == 0, done.stderr
    assert "gate" in done.stdout

    lines = [json.loads(line) for line in (home / "out/results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["done"] * 4
    assert {line["method"] for line in lines} == {"gate", "last_layer"}
    for line in lines:
        assert line["classes"] == ["1", "2", "3"]
        test = line["metrics"]["test"]
        counts = test["confusion_matrix"]
        far = sum(abs(i - j) * counts[i][j] for i in range(3) for j in range(3))
        assert test["mean_distance"] == pytest.approx(far / 60, abs=1e-12)
        assert 0 < test["loss"] < 2, "a squared distance of cumulated shares, of two steps"
    trained = {line["method"]: line["cost"]["trainable_parameters"] for line in lines}
    assert trained["gate"] - trained["last_layer"] == 3 * 64, "a gate per feature in three blocks"

    (contest,) = json.loads((home / "out/verdict.json").read_text())["contests"]
    assert (contest["metric"], contest["higher_is_better"]) == ("mean_distance", False)
    assert {method["method"] for method in contest["methods"]} == {"gate", "last_layer"}
    assert (home / "out/report.html").exists()
    assert (home / "out/winner").is_dir()

    wrong = {**study, "methods": [{"gate": {"initial": -1}}, {"gate": {"inital": 1}}]}
    (home / "wrong.json").write_text(json.dumps(wrong))
    refused = tuneoff("plan", "wrong.json", home=home)
    assert refused.returncode == 2
    assert "methods[0].gate.initial" in refused.stderr
    assert "did you mean 'initial'" in refused.stderr


BROKEN = {
    "lora": ("class X: pass\n", "two methods are called 'lora'"),
    "empty": ("# nothing here\n", "found none"),
    "twins": (
        "from tuneoff.methods import Method\nclass One(Method): pass\nclass Two(Method): pass\n",
        "found ['One', 'Two']",
    ),
    "imports": ("import no_such_library\n", "No module named 'no_such_library'"),
    "syntax": ("class Broken(\n", "line 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_without_a_traceback(name: str, tmp_path: Path) -> None:
    code, words = BROKEN[name]
    path = put(tmp_path / "mine", "methods", name, code)
    (tmp_path / "study.yaml").write_text(
        f"backbones: [mini-bert]\ntasks: [synthetic]\nmethods: [{name}]\n"
    )
    for arguments in (("show", f"methods/{name}"), ("plan", "study.yaml")):
        done = tuneoff(*arguments, home=tmp_path)
        assert done.returncode in (1, 2), done.stderr
        assert words in done.stderr
        assert str(path) in done.stderr
        assert "Traceback" not in done.stderr


def test_one_broken_file_hides_no_other_part(tmp_path: Path) -> None:
    put(tmp_path / "mine", "methods", "empty", "# nothing here\n")
    listed = tuneoff("list", "methods", home=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "lora" in listed.stdout
    assert "cannot be used" in listed.stdout


def test_installed_packages_are_looked_through_once_per_search_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks: list[str] = []

    def entry_points(group: str) -> list[Any]:
        looks.extend([group] if group.startswith("tuneoff.") else [])  # pydantic looks for its own
        return []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry._installed.cache_clear()
    try:
        for _ in range(3):
            assert registry.get("methods", "lora").__name__ == "LoRA"
        assert looks == ["tuneoff.methods"]
        monkeypatch.syspath_prepend(tmp_path)  # where another package may lie
        assert "lora" in registry.names("methods")
        assert looks == ["tuneoff.methods"] * 2
    finally:
        registry._installed.cache_clear()
