"""What the benchmarks hand to the engine is what it reads: a few steps on a tiny model."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import quality_against_trainer, tuning, workloads

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
