"""Small studies of tasks that answer in other ways than with a class, really run by the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.backbones import writing
from tuneoff.ledger import Ledger
from tuneoff.running.materials import loaded
from tuneoff.runs import expand
from tuneoff.study import Study
from tuneoff.training.loop import train_cohort
from tuneoff.winner.tensors import read_tensors, save_tensors

SIZES = {"train": 24, "validation": 6, "test": 10}
TASKS: dict[str, dict[str, Any]] = {
    "span": {"task": "question_answering", "max_length": 20, "doc_stride": 4},
    "written_answer": {
        "task": "question_answering", "answer_form": "text_to_text", "max_length": 40,
        "generation": {"max_new_tokens": 5},
    },
    "summarization": {
        "task": "summarization", "max_input_length": 24, "max_output_length": 6,
        "generation": {"num_beams": 2, "min_new_tokens": 2},
    },
    "instruction": {
        "task": "instruction", "template": "alpaca_short", "max_input_length": 50,
        "max_output_length": 6,
    },
    "continuation": {
        "task": "continuation", "prompt_lines": 1, "max_length": 24,
        "generation": {"max_new_tokens": 6, "do_sample": True},
    },
    "language_modelling": {"task": "language_modelling", "max_length": 12, "packed": True},
    "cloze": {
        "task": "cloze", "template": "the {text} a", "verbalizers": {"low": "sun", "high": "moon"},
    },
}  # fmt: skip


def row(draw: np.random.Generator) -> dict[str, Any]:
    """Columns for every task: a text of 6 to 30 words, what to say of it, its class."""
    words = [f"w{number}" for number in draw.integers(60, 99, int(draw.integers(6, 30)))]
    at = int(draw.integers(1, len(words) - 1))
    text, answer = " ".join(words), words[at]
    return {
        "text": text, "context": text, "question": f"the {words[at - 1]}", "answer": answer,
        "answer_start": len(" ".join(words[:at])) + 1, "summary": f"a {answer}",
        "instruction": f"the {answer} now", "output": f"love {answer}",
        "lines": f"king {answer} \n {text}", "label": "low" if at < len(words) / 2 else "high",
    }  # fmt: skip


def sharpen(model: Path, by: float = 2.0) -> None:
    """Larger weights: random models at their initial scale say one word to everything."""
    path, generator = model / "model.safetensors", torch.Generator().manual_seed(1)
    tensors = read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.ndim >= 2:
            scale = by * tensor.shape[-1] ** -0.5
            tensors[name] = torch.randn(tensor.shape, generator=generator) * scale
    save_file(tensors, path, metadata={"format": "pt"})


def run_study(
    folder: Path,
    name: str,
    architecture: str,
    methods: Sequence[Any] = ("lora",),
    backbone: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """The folder of a study of the task `name` of `TASKS`, with ledger, tensors and verdict."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / architecture
    if not model.exists():
        sharpen(writing.save(architecture, model))
    task = {**TASKS[name], **changes}
    data: dict[str, Any] = {"dataset": "jsonl"}
    draw = np.random.default_rng(0)
    for split, size in SIZES.items():
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row(draw)) + "\n" for _ in range(size)))
        data[split] = str(path)
    if task["task"] == "continuation":
        data["columns"] = {"text": "lines"}
    study = Study(
        name="tiny",
        backbones=[{"name": "tiny", "model": str(model), **(backbone or {})}],
        tasks=[{"name": name, **task, "data": data}],
        methods=list(methods), tuning={"probes": 0}, device="cpu", seeds=1,
        training={"max_steps": 6, "batch_size": 8},
    )  # fmt: skip
    out, runs = folder / "out", {}
    with Ledger(out) as ledger:
        for spec in expand(study):
            material = loaded(spec).material
            (outcome,) = train_cohort([spec], material)
            assert outcome.status == "done", outcome.reason
            size = save_tensors(out, spec.run_id, outcome.tensors)
            record = {
                "run_id": spec.run_id, "status": "done", "reason": None, "kind": "run",
                "study": "tiny", "backbone": "tiny", "task": name, "method": spec.method.name,
                "settings": spec.settings(), "seed": spec.seed,
                "learning_rate": spec.learning_rate, "classes": list(material.classes),
                "primary_metric": spec.task.primary_metric, "metrics": outcome.metrics,
                "best_step": outcome.best_step, "steps": outcome.steps,
                "cost": {"trainable_parameters": outcome.trainable_parameters,
                         "adapter_bytes": size},
                "data": SIZES, "versions": {"tuneoff": "0.1.0"},
            }  # fmt: skip
            ledger.append(record, outcome.predictions)
            runs[spec.method.name] = spec.run_id
    contest = {
        "backbone": "tiny", "task": name, "metric": study.tasks[0].primary_metric,
        "best": next(iter(runs)), "tied_with_best": list(runs), "headline": "Use it.",
        "methods": [{"method": method, "n": 1, "mean": 0.5, "run_ids": [run]}
                    for method, run in runs.items()],
        "answers": [{"use": "best_balance", "method": next(iter(runs))}],
    }  # fmt: skip
    (out / "verdict.json").write_text(json.dumps({"study": "tiny", "contests": [contest]}))
    return out
