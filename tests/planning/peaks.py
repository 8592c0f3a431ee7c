"""A worker's job that measures real peaks, and small studies of the built-in models for it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tuneoff.running.profile_job import ProfileOrder

_WORDS = ("the", "film", "was", "good", "long", "story", "people", "house", "water", "never")

TASKS: dict[str, dict[str, Any]] = {
    "classify": {"task": "text_classification"},
    "model": {"task": "language_modelling", "max_length": 128},
    "summarize": {
        "task": "summarization",
        "max_input_length": 128,
        "max_output_length": 24,
        "generation": {"num_beams": 4, "max_new_tokens": 24},
    },
}


def study(folder: Path, backbone: str, task: str, method: str, **training: Any) -> dict[str, Any]:
    """A study as plain data, on random words."""
    rows = folder / "rows.jsonl"
    if not rows.exists():
        draw = random.Random(0)
        words = [
            {
                "text": " ".join(draw.choices(_WORDS, k=draw.randint(30, 90))),
                "summary": " ".join(draw.choices(_WORDS, k=draw.randint(8, 16))),
                "label": draw.choice(["a", "b"]),
            }
            for _ in range(180)
        ]
        rows.write_text("".join(json.dumps(row) + "\n" for row in words))
    split = {"validation": 20, "test": 60}
    return {
        "name": "peaks",
        "backbones": [backbone],
        "tasks": [
            {**TASKS[task], "data": {"dataset": "jsonl", "train": str(rows), "split": split}}
        ],
        "methods": [method],
        "seeds": [0],
        "tuning": {"probes": 0},
        "training": {"max_steps": 8, "batch_size": 16, "evaluate_every": 4, **training},
        "device": "cpu",
    }


def measure(order: ProfileOrder, say: object) -> dict[str, Any]:
    """Peaks in bytes beyond the process before it loaded anything, of some steps, of an evaluation
    of test and of writing its answers; and what was written."""
    from tuneoff.running.materials import loaded
    from tuneoff.running.peak_memory import PeakMeter, resident_bytes, settle
    from tuneoff.training.evaluation import evaluate, written
    from tuneoff.training.loop import Cohort

    settle()
    before = resident_bytes()
    material = loaded(order.spec).material
    cohort = Cohort([order.spec], material, order.limits)
    cohort.begin()
    meter = PeakMeter("cpu")
    meter.start()
    for _ in range(4):
        cohort.step()
    found: dict[str, Any] = {"activations": meter.read().used - before}
    cohort.passes.carry(cohort.members)
    meter.start()
    evaluate(cohort.passes, material, "test")
    found["evaluation"] = meter.read().used - before
    if material.generation() is not None:
        meter.start()
        found["texts"] = written(cohort.passes, material, material.features["test"])
        found["generation"] = meter.read().used - before
    return found
