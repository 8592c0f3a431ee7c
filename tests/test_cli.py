"""The command line: quick help, clean streams, errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tuneoff
from tuneoff import catalog, doctor, recipes, registry
from tuneoff.backbones.names import builtin_names
from tuneoff.cli import main
from tuneoff.running import study_run
from tuneoff.study import Study, load_study

HEAVY = ("torch", "transformers", "pandas", "datasets", "numpy", "pyarrow", "sklearn", "scipy")


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`tuneoff ARGUMENTS` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "NO_COLOR": "1"}
    environment.pop("FORCE_COLOR", None)
    return subprocess.run(
        [sys.executable, "-m", "tuneoff", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )


def test_help_and_import_load_nothing_heavy() -> None:
    script = f"""
import sys
import tuneoff
from tuneoff.cli import app
try:
    app(["--help"])
except SystemExit as leaving:
    assert leaving.code == 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
assert "typer" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("init", "plan", "run", "report", "predict", "export", "list", "show", "doctor"):
        assert f" {name} " in done.stdout


def test_public_names() -> None:
    assert tuneoff.__all__ == ["Study", "__version__", "load_study", "plan", "run"]
    assert all(getattr(tuneoff, name) is not None for name in tuneoff.__all__)
    assert dir(tuneoff) == sorted(tuneoff.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sweep'"):
        tuneoff.sweep  # noqa: B018


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"tuneoff {tuneoff.__version__}\n",
        "",
    )


def test_faults_go_to_stderr_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "backbones: [mini-bert]\ntasks: [synthetic]\nmethods: [lorra, '[bold]']\nseed: 3\n"
    )
    done = command("run", "bad.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: bad.yaml: 3 problems\n")
    assert (
        "methods[0].method: 'lorra' is not a method; did you mean 'lora'? (line 3)" in done.stderr
    )
    assert "'[bold]'" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "absent.yaml"), 2, "is neither a file nor a recipe"),
        (("plan", "--only", "lor"), 2, "did you mean 'lora'?"),
        (("plan", "--set", "x"), 2, "wants PATH=VALUE"),
        (("plan", "--seeds", "x"), 2, "seeds: "),
        (("plan", "--device", "gpu"), 2, "device: must be one of auto, cpu, cuda"),
        (("show", "lorra"), 1, "did you mean 'lora'?"),
        (("list", "method"), 1, "did you mean 'methods'?"),
        (("report", "."), 5, "holds no results"),
        (("init", "absent.csv"), 3, "there is no file absent.csv"),
        (("frobnicate",), 2, "No such command"),
        (("run", "--frobnicate"), 2, "No such option"),
    ],
)
def test_exit_codes(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tuneoff", *arguments])
    with pytest.raises(SystemExit) as leaving:
        main()
    out, err = capsys.readouterr()
    assert leaving.value.code == code, err
    assert words in err
    assert out == ""


def test_a_stop_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise study_run.Interrupted("stopped: the same command goes on from here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study_run, "run_study", stop)
    monkeypatch.setattr(sys, "argv", ["tuneoff", "run"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 130
    assert capsys.readouterr().err == "stopped: the same command goes on from here\n"


def test_options_of_run_reach_the_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def record(study: Study, out: Path, **options: Any) -> Path:
        seen.append((study, out, options))
        out.mkdir()
        (out / "verdict.json").write_text("{}")
        return out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study_run, "run_study", record)
    words = "run -o out --seeds 4,9 --only lora --set training.epochs=2 --workers 3 --device cpu"
    monkeypatch.setattr(sys, "argv", ["tuneoff", *words.split(), "--retry", "--json"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 0
    ((study, out, options),) = seen
    assert (study.seeds, study.training.epochs, study.budget.workers) == ((4, 9), 2, 3)
    assert [method.name for method in study.methods] == ["lora"]
    assert (out, study.device) == (Path("out"), "cpu")
    assert options == {"force": False, "retry": True}
    assert capsys.readouterr().out == "{}\n"


def test_plan_takes_the_changes_that_run_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tuneoff.cli import studies

    (tmp_path / "rows.csv").write_text("text,label\n" + "fine,good\npoor,bad\n" * 20)
    words = (
        "shared-task-4 --only bert-base,sst5 --seeds 2 --backbone bert-base=mini-bert "
        "--data sst5=rows.csv --scale smoke --fair --set training.epochs=2 --device cpu"
    )
    seen: dict[str, Study] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "_show_plan", lambda study, json: seen.update(planned=study))
    monkeypatch.setattr(
        study_run, "run_study", lambda study, out, **options: seen.update(run=study)
    )
    monkeypatch.setattr("tuneoff.report.terminal.print_verdict", lambda *given: None)
    for name in ("plan", "run"):
        monkeypatch.setattr(sys, "argv", ["tuneoff", name, *words.split()])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code == 0
    assert seen["planned"] == seen["run"]
    assert seen["planned"] != load_study("shared-task-4")
    assert seen["planned"].conditions.scale == "smoke"


def test_list_and_show_as_json() -> None:
    listed = json.loads(command("list", "--json").stdout)
    assert set(listed) == set(catalog.KINDS)
    for kind in registry.KINDS:
        assert list(listed[kind]) == registry.names(kind)
    assert "quickstart" in listed["recipes"]
    (shown,) = json.loads(command("show", "methods/lora", "--json").stdout)
    settings = {one["name"]: one for one in shown["settings"]}
    assert settings["rank"]["default"] == 8
    assert settings["rank"]["type"] == "whole number >= 1"
    assert shown["rates"]["encoder"]["default"] > 0


def test_list_fits_a_terminal_of_80_columns() -> None:
    done = command("list")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "lora" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_everything_can_be_shown(kind: str) -> None:
    for name in catalog.names(kind):
        entry = catalog.entry(kind, name)
        assert entry in catalog.find(f"{kind}/{name}")
        if kind in registry.KINDS:
            assert entry.summary, f"{kind}/{name} has no docstring"
            fields: Any = registry.get(kind, name).model_fields  # type: ignore[arg-type]
            assert [one.name for one in entry.settings] == list(fields)
            assert all(one.about for one in entry.settings), f"{kind}/{name}: undocumented settings"


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_whole_studies(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert (
        command("show", f"recipes/{name}").stdout.strip() == recipes.find(name).read_text().strip()
    )


def test_the_quick_start_compares_six_methods_over_three_seeds_offline() -> None:
    study = load_study("quickstart")
    assert len(study.methods) >= 6
    assert len(study.seeds) == 3
    assert {backbone.model for backbone in study.backbones} <= set(builtin_names())
    assert all(task.data.source.synthetic for task in study.tasks)


def test_schema_is_json() -> None:
    schema = json.loads(command("schema").stdout)
    assert "methods" in schema["properties"]


def test_doctor_runs_a_four_bit_layer() -> None:
    found = {check.name: check for check in doctor.checks()}
    assert found["4-bit"].status == "ok", found["4-bit"]
    assert found["torch"].status == "ok"
    assert all(check.remedy for check in found.values() if check.status != "ok")


def test_doctor_tells_what_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TUNEOFF_CACHE", str(blocked / "cache"))
    monkeypatch.setattr(doctor, "_PARTS", ("peft", "no-such-library"))

    def crash() -> doctor.Check:
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "_torch", crash)
    found = {check.name: check for check in doctor.checks()}
    assert found["cache"].status == "broken"
    assert "TUNEOFF_CACHE" in found["cache"].remedy
    assert found["libraries"].remedy == "pip install no-such-library"
    assert "boom" in found["crash"].found
    assert doctor.fails(list(found.values()))
