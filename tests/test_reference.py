"""The reference pages name every setting with its default, and every command with its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from tuneoff import study
from tuneoff.catalog import settings_of
from tuneoff.cli import app

PAGES = Path(__file__).parents[1] / "docs" / "reference"
GROUPS = [
    study.Study,
    study.BackboneSpec,
    study.TaskSpec,
    study.DataSpec,
    study.Split,
    study.Limit,
    study.MethodSpec,
    study.CellSpec,
    study.Published,
    study.Publication,
    study.Conditions,
    study.Training,
    study.Tuning,
    study.Budget,
    study.Evaluation,
    study.Comparison,
]


def documented() -> dict[str, list[str]]:
    """Setting -> the defaults that stand beside it anywhere on the page."""
    page = (PAGES / "study.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, default in re.findall(r"^\| `(\w+)` \| (.*?) \|", page, flags=re.MULTILINE):
        found.setdefault(name, []).append(default.strip("`"))
    return found


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_setting_stands_on_the_page_with_its_default(group: type[study.Study]) -> None:
    page = documented()
    made = (study.DataSpec, study.Conditions)  # with defaults that are made, not constants
    for setting in settings_of(group):
        if setting.name in ("settings", "source", "metric_settings"):  # a part's own stand flat
            continue
        assert setting.about, f"{group.__name__}.{setting.name} has no docstring"
        plain = setting.default is None or not isinstance(setting.default, dict | list)
        defaults = [yaml.safe_load(text) for text in page.get(setting.name, [])]
        assert defaults, f"{setting.name} is not on the page"
        if plain and not setting.required and group not in made:
            assert setting.default in defaults, f"{setting.name}: {setting.default}, {defaults}"


def test_every_command_and_option_stands_on_the_page() -> None:
    page = (PAGES / "cli.md").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"`tuneoff {name}" in page
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in page, f"{name} {option}"


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    page = (PAGES / "study.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "reviews.csv").write_text("title,body,stars\na,b,1\n")
    (tmp_path / "minilm").mkdir()
    (tmp_path / "study.yaml").write_text(example)
    loaded = study.load_study(tmp_path / "study.yaml")
    assert [method.name for method in loaded.methods] == ["full", "lora", "lora-qv"]
    assert loaded.tasks[0].data.columns["text"] == ("title", "body")
