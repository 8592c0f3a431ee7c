"""A small study that was really run: a tiny backbone, invented reviews, the engine's training."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.winner.trained import backbone as tiny_backbone
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.data.encoded import prepare
from tuneoff.fit import options
from tuneoff.ledger import Ledger
from tuneoff.runs import expand
from tuneoff.study import Study
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Material
from tuneoff.winner.tensors import save_tensors

CLASSES = ["bad", "fair", "good"]


def write_reviews(path: Path, rows: int, seed: int, delimiter: str = ";") -> Path:
    """Reviews of 3 to 20 words of which some tell the class; columns id, review, verdict."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "review", "verdict"])
        for row in range(rows):
            label = int(random.integers(3))
            words = random.integers(10, 100, int(random.integers(3, 20)))
            words[:2] = 10 + 5 * label + random.integers(0, 5, 2)
            text = " ".join(f"w{word}" for word in words)
            writer.writerow([f"r{row}", text, CLASSES[label]])
    return path


def run_study(
    folder: Path,
    methods: Sequence[object],
    architecture: str = "bert",
    seeds: int = 1,
    best: str | None = None,
    steps: int = 8,
) -> Path:
    """A study's folder with its ledger, tensors and a verdict that advises `best`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_backbone(architecture, folder).options.model
    study = Study(
        name="tiny",
        backbones=[{"name": "tiny", "model": model}],
        tasks=[{
            "name": "reviews", "task": "text_classification", "max_length": 16,
            "data": {
                "dataset": "csv", "delimiter": ";",
                "train": str(write_reviews(folder / "train.csv", 60, 0)),
                "validation": str(write_reviews(folder / "validation.csv", 20, 1)),
                "test": str(write_reviews(folder / "test.csv", 30, 2)),
                "columns": {"text": "review", "label": "verdict"},
            },
        }],
        methods=list(methods), seeds=seeds, tuning={"probes": 0}, device="cpu",
        training={"max_steps": steps, "batch_size": 8},
    )  # fmt: skip
    out = folder / "out"
    runs: dict[str, list[str]] = {}
    with Ledger(out) as ledger:
        for spec in expand(study):
            made = load(BackboneOptions(**options(spec.backbone)), classes=CLASSES)
            task, data = spec.task.settings, spec.task.data
            found = prepare(task, data.source, made.tokenizer, columns=data.columns,
                            split=data.split, limit=data.limit)  # fmt: skip
            material = Material(made, task, found.features, tuple(found.facts["classes"]))
            outcome = train_cohort([spec], material)[0]
            assert outcome.status == "done"
            size = save_tensors(out, spec.run_id, outcome.tensors)
            record = {
                "run_id": spec.run_id, "status": "done", "reason": None, "kind": "run",
                "study": "tiny", "backbone": "tiny", "task": "reviews",
                "method": spec.method.name, "settings": spec.settings(), "seed": spec.seed,
                "learning_rate": spec.learning_rate, "classes": CLASSES,
                "primary_metric": "accuracy", "metrics": outcome.metrics,
                "best_step": outcome.best_step, "steps": outcome.steps,
                "cost": {"trainable_parameters": outcome.trainable_parameters,
                         "adapter_bytes": size},
                "data": {"train": 60, "validation": 20, "test": 30, "leaked_test_rows": 0},
                "versions": {"tuneoff": "0.1.0"},
            }  # fmt: skip
            ledger.append(record, outcome.predictions)
            runs.setdefault(spec.method.name, []).append(spec.run_id)
    names = [spec.name for spec in study.methods]
    contest = {
        "backbone": "tiny", "task": "reviews", "metric": "accuracy", "best": names[0],
        "tied_with_best": names, "headline": f"Use {best or names[0]}.",
        "methods": [{"method": name, "n": seeds, "mean": 0.5, "interval": [0.4, 0.6],
                     "run_ids": runs[name]}
                    for name in names],
        "answers": [{"use": "best_balance", "method": best or names[0]}],
    }  # fmt: skip
    (out / "verdict.json").write_text(json.dumps({"study": "tiny", "contests": [contest]}))
    return out
