"""A tiny study for tests of the runner: a random BERT of three narrow blocks and a CSV by rule."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.backbones.tiny import save


def write_csv(path: Path, rows: int, seed: int = 0) -> Path:
    """Rows of the words w5 .. w99; the label says whether low words are in the majority."""
    draw = random.Random(seed)
    lines = ["text,label"]
    for _ in range(rows):
        words = [draw.randrange(5, 100) for _ in range(draw.randrange(3, 14))]
        low = sum(word < 52 for word in words) * 2 > len(words)
        lines.append(f"{' '.join(f'w{word}' for word in words)},{'low' if low else 'high'}")
    path.write_text("\n".join(lines) + "\n")
    return path


def tiny_study(
    folder: Path,
    rows: int = 160,
    architecture: str = "bert",
    shift: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """A study as plain data, with its backbone and data in `folder`; shift: with a further test set
    of 30 other rows."""
    model = folder / architecture
    if not model.exists():
        save(architecture, model, classes=2)
    source = folder / "rows.csv"
    if not source.exists():
        write_csv(source, rows)
    more = {"shift": {"other": str(write_csv(folder / "other.csv", 30, seed=1))}} if shift else {}
    return {
        "name": "tiny",
        "backbones": [{"name": architecture, "model": str(model)}],
        "tasks": [
            {
                "name": "words",
                "task": "text_classification",
                "data": {
                    "dataset": "csv",
                    "train": str(source),
                    "split": {"validation": 40, "test": 40},
                    **more,
                },
            }
        ],
        "methods": ["lora", "bitfit", "last_layer"],
        "seeds": [0, 1],
        "training": {"max_steps": 8, "batch_size": 8, "evaluate_every": 4},
        "tuning": {"probes": 0},
        "device": "cpu",
        **changes,
    }
