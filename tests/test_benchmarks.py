"""What the benchmarks hand to the engine is what it reads: a few steps on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import against_trainer, page, quality_against_trainer, tuning, workloads

from tests.backbones import tiny
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.registry import get
from tuneoff.training.features import Features
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Material


@pytest.fixture
def material(tmp_path) -> Material:
    tiny.save("bert", tmp_path, "sequence_classification")
    backbone = load(BackboneOptions(str(tmp_path)), classes=("0", "1"))
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 12, 24)
    data = Features(
        draw.integers(10, 60, lengths.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        draw.integers(0, 2, 24),
    )
    task = get("tasks", "text_classification")()
    return Material(backbone, task, {"train": data, "test": data}, ("0", "1"))


def test_quality(material):
    assert 0 <= quality_against_trainer.ours(material, "lora", 1e-3, 1, 0) <= 1


def test_workloads(material):
    spec = workloads.run("full", 1, 8, 1e-4, 0)
    assert "accuracy" in train_cohort([spec], material)[0].metrics["test"]


def test_tuning(material):
    """In float64, where company changes no choice: halved, as read from the whole grid."""
    material.backbone.model.double()
    material.features["validation"] = material.features["test"]
    grid = tuning.search("all", 0, material, stopping=False)
    halved = tuning.search("all", 0, material, stopping=True)
    assert {line["status"] for line in grid.values()} == {"done"}
    finalists = {name for name, line in halved.items() if line["status"] == "done"}
    assert finalists == set(tuning.standing(grid, list(grid), material).racing)
    assert len(finalists) == 1
    (name,) = finalists
    scores = [lines[name]["metrics"]["validation"]["loss"] for lines in (grid, halved)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)


PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def test_the_page_keeps_what_other_programs_wrote(tmp_path):
    """Two goals measured again on the real page: their rows change, and not another line."""
    copy = tmp_path / "benchmarks.md"
    page = PAGE.read_text("utf-8").splitlines(keepends=True)
    before = "".join(
        line for line in page if not line.startswith("Last made by")
    )  # it may have one
    copy.write_text(before, "utf-8")
    known = next(line for line in before.splitlines() if line.startswith("| G3 |"))
    work = known.split("|")[2].strip()
    again = against_trainer.Row("G3", work, "3.2x", "2.4x", ours=[1.0], theirs=[7.0])
    first = against_trainer.Row("G13", "GPU, at last", "10x", "none", ours=[1.0], theirs=[9.0])
    against_trainer.write(copy, [again, first], "On this machine.")
    after = copy.read_text("utf-8").splitlines()
    lines = before.splitlines()
    gone = [line for line in lines if line not in after]
    come = [line for line in after if line not in lines]
    assert [line.split("|")[1].strip() for line in gone] == ["G3", "G13"]
    assert [line.count("**7.00x**") + line.count("**9.00x**") for line in come] == [1, 1, 0]
    assert come[2].endswith("G3, G13. On this machine.")
    assert [line for line in after if line in lines and line] == [
        line for line in lines if line in after and line
    ]  # in their order
    against_trainer.write(copy, [first], "On this machine, again.")
    assert copy.read_text("utf-8").count("Last made by") == 1
    figures = json.loads(copy.with_suffix(".json").read_text("utf-8"))
    assert [(one["goal_id"], one["theirs"]) for one in figures] == [("G3", [7.0]), ("G13", [9.0])]


def test_a_page_that_is_new_has_every_goal(tmp_path):
    path = tmp_path / "new.md"
    row = against_trainer.Row("G1", "work", "3x", "2x", ours=[1.0], theirs=[3.0])
    against_trainer.write(path, [row], "Here.")
    goals = [line.split("|")[1].strip() for line in path.read_text().splitlines() if "|" in line]
    assert goals[2:] == ["G1", *(goal for goal, *_ in against_trainer.NOT_BUILT)]


def test_a_section_is_replaced_where_it_stands():
    text = "# Page\n\n## One\nold\nlines\n\n## Two\nstays\n"
    assert page.with_section(text, "## One\nnew\n") == "# Page\n\n## One\nnew\n\n## Two\nstays\n"
    assert page.with_section(text, "## Two\nnew\n") == (
        "# Page\n\n## One\nold\nlines\n\n## Two\nnew\n"
    )
    added = page.with_section(text, "## Three\nnew\n")
    assert added == text + "\n## Three\nnew\n"
