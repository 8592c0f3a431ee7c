"""The house: README, Makefile and CI say one thing, links lead somewhere, files stay small."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tuneoff.study import load_study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MODULES = sorted((ROOT / "src").rglob("*.py"))
METHODS = sorted(path.stem for path in (ROOT / "src" / "tuneoff" / "methods").glob("[!_]*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md"]
)


def shell_blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def recipe(target: str) -> str:
    """The lines that `make TARGET` would run, with the Makefile's own values."""
    given = {"VENV", "OUT", "PYTHON", "MFLAGS"}  # of the make that runs these tests, as CI does
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in given and not key.startswith("MAKE")
    }
    return subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_readme_and_makefile_say_the_same() -> None:
    first, first_plain, second, second_plain = shell_blocks(README)[:4]
    assert first == "make quickstart\n"
    assert first_plain == recipe("quickstart")
    assert second == "make test\n"
    assert second_plain == recipe("test")


def test_ci_runs_the_second_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    assert re.search(r"^make test VENV=", script, re.MULTILINE)
    assert not re.search(r"\bpytest\b[^.']", script.replace("# ", "").partition("make test")[2])
    for tool in ("ruff format --check", "ruff check", "mypy"):
        assert f"/{tool}\n" in recipe("check")


def test_the_first_command_installs_what_is_shipped() -> None:
    """Not editable: the wheel must hold the recipe, the model and the page's templates."""
    assert "pip install -q -c constraints.txt .\n" in recipe("quickstart")
    package = ROOT / "src" / "tuneoff"
    for name in ("recipes/quickstart.yaml", "py.typed", "report/templates/page.html.j2"):
        assert (package / name).is_file()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("no git checkout")
    shipped = tracked.stdout.splitlines()
    (weights,) = (name for name in shipped if name.endswith("mini-bert/model.safetensors"))
    assert (ROOT / weights).stat().st_size < 12e6


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_linked_from_the_index() -> None:
    """The index names them all, but those of the smoke run: these stand in its overview."""
    docs = ROOT / "docs"
    linked: set[Path] = set()
    for page in (docs / "index.md", docs / "studies" / "smoke" / "overview.md"):
        if page.exists():
            links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8"))
            linked |= {(page.parent / link).resolve() for link in links}
    pages = set(docs.rglob("*.md")) - {docs / "index.md"}
    assert pages <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_name_tests_and_files_that_exist(page: Path) -> None:
    for path in re.findall(
        r"`((?:tests|src|scripts|benchmarks|examples)/[\w./-]+)`", page.read_text()
    ):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_dependency_that_is_imported_is_declared() -> None:
    """`pip install tuneoff` brings what the package imports; nothing by way of others alone."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    block = project[project.index("\ndependencies = [") :].partition("]")[0]
    declared = {name.lower() for name in re.findall(r'"([\w-]+)[><=]', block)}
    of_import = {"yaml": "pyyaml"}
    brought = {
        "pydantic_core": "pydantic",
        "markupsafe": "jinja2",
    }  # parts of one library, released together
    imported: dict[str, Path] = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0]: module for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported[node.module.partition(".")[0]] = module
    for name, module in imported.items():
        if name in sys.stdlib_module_names or name in ("tuneoff", "__future__"):
            continue
        library = of_import.get(name, brought.get(name, name.replace("_", "-")))
        assert library in declared, f"{module.relative_to(ROOT)} imports {name}"


def test_constraints_pin_only_what_is_needed() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert any(line.startswith("torch==") for line in pinned)
    for line in pinned:
        name, equals, version = line.partition("==")
        assert equals, line
        assert version, line
        assert f'"{name}' in project, f"{name} is pinned and not depended on"


def test_modules_say_what_they_are_and_fit_in_the_head() -> None:
    """80 to 300 lines are wanted; a file far over that holds more than one idea."""
    faults = []
    for module in MODULES:
        text = module.read_text("utf-8")
        if len(text.splitlines()) > 420:
            faults.append(f"{module}: {len(text.splitlines())} lines")
        if not ast.get_docstring(ast.parse(text)):
            faults.append(f"{module}: no docstring")
        if module.stem in {"utils", "common", "helpers", "misc"}:
            faults.append(f"{module}: named by no noun")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_the_source_of_its_defaults(name: str) -> None:
    text = (ROOT / "src" / "tuneoff" / "methods" / f"{name}.py").read_text("utf-8")
    assert re.search(r"arXiv|[Ss]ource|doi\.org|github\.com|PEFT", text), f"{name} names no source"


@pytest.mark.parametrize("study", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_whole_studies(study: Path) -> None:
    loaded = load_study(study)
    assert len(loaded.methods) >= 3
    assert loaded.name == study.stem.replace("_", "-")
    assert f"({study.name})" in (ROOT / "examples" / "README.md").read_text("utf-8")


def test_the_study_of_the_readme_is_whole(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "reviews.csv").write_text("review,stars\n")
    (tmp_path / "study.yaml").write_text(text)
    assert [method.name for method in load_study(tmp_path / "study.yaml").methods][-1] == "lora"


def test_nothing_names_a_machine_of_its_makers() -> None:
    """No path of a development machine, no private folder, no package registry's host."""
    # Put together here, so that this file does not hold what it forbids.
    words = [
        "/wo" + "rk/",
        "/ro" + "ot/",
        r"\.lib" + "rary",
        "pypi\\.o" + "rg",
        "files\\.pythonh" + "osted",
    ]
    words += ["download\\.py" + "torch", "/opt/pyp" + "i", "/opt/whe" + "els"]
    forbidden = re.compile(r"(?<![\w.])(?:" + "|".join(words) + ")")
    kept = [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml", ".ci/run")]
    kept += [ROOT / "constraints.txt", *PAGES]
    for folder in ("src", "tests", "scripts", "benchmarks", "docs", "examples"):
        kept += [path for path in (ROOT / folder).rglob("*") if path.suffix in _TEXT]
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in kept
        for match in forbidden.finditer(path.read_text("utf-8"))
    ]
    assert not found, found
    assert forbidden.search("see /ro" + "ot/x"), "the pattern finds what it looks for"


_TEXT = {".py", ".md", ".yaml", ".json", ".toml", ".css", ".js", ".j2", ".csv"}
