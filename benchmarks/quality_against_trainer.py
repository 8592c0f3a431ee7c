"""Does tuneoff reach the quality of Hugging Face Trainer + PEFT at the same settings, dropout on?

    python -m benchmarks.quality_against_trainer --data SST5_FOLDER --model MODEL_FOLDER \
        --rows 1000 --methods full,lora --rates 1e-4,1e-3

Losses from equal weights without dropout are compared bit for bit elsewhere (tests/training); here
each side draws its own head, order and dropout masks, so only the distributions can be compared:
test accuracy over seeds, as mean, standard deviation and the difference with its 95 % interval
(Welch). `--data` holds train.csv and test.csv with columns text and label.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from scipy import stats

from benchmarks import rival
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.datasets.csv import Csv
from tuneoff.registry import get
from tuneoff.study import Training
from tuneoff.study_settings import Evaluation
from tuneoff.training.features import Features
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Material

TARGETS = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def splits(folder: Path, tokenizer: Any, count: int) -> tuple[dict[str, Features], tuple[str, ...]]:
    """Train rows drawn evenly over the file, and the whole test split."""
    task = get("tasks", "text_classification")()
    rows = Csv(train=folder / "train.csv", test=folder / "test.csv").load()
    facts = task.describe(rows["train"])
    features = {name: task.features(rows[name], facts, tokenizer) for name in ("train", "test")}
    keep = np.linspace(0, len(features["train"]) - 1, count).astype(int)
    return {**features, "train": part(features["train"], keep)}, tuple(facts["classes"])


def part(features: Features, keep: np.ndarray) -> Features:
    """Some examples."""
    pieces = [features.tokens[features.offsets[i] : features.offsets[i + 1]] for i in keep]
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return Features(np.concatenate(pieces), offsets, features.targets[keep])


def ours(material: Material, method: str, rate: float, epochs: int, seed: int) -> float:
    """Test accuracy of one run."""
    spec: Any = SimpleNamespace(
        method=SimpleNamespace(settings=get("methods", method)(), name=method, method=method),
        training=Training(epochs=epochs, batch_size=32),
        seed=seed,
        learning_rate=rate,
        kind="run",
        evaluation=Evaluation(),
        run_id=f"{method}-{seed}",
        task=SimpleNamespace(
            all_metrics={"accuracy": get("metrics", "accuracy")()},
            primary_metric="accuracy",
            selection_metric=lambda _: "accuracy",
        ),
    )
    return float(train_cohort([spec], material)[0].metrics["test"]["accuracy"])


def theirs(
    folder: Path, material: Material, method: str, rate: float, epochs: int, seed: int
) -> float:
    """Test accuracy of one Trainer run."""
    rival.CLASSES = material.classes  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    net = rival.model(folder, method, targets=TARGETS)
    runner = rival.trainer(net, material.features["train"], epochs, 32, rate, seed, folder)
    runner.train()
    found = runner.predict(rival.rows(material.features["test"]))
    return float((found.predictions.argmax(-1) == found.label_ids).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--rates", default="1e-4,1e-3")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load(BackboneOptions(str(arguments.model)), classes=("0", "1", "2", "3", "4"))
    features, classes = splits(arguments.data, backbone.tokenizer, arguments.rows)
    material = Material(backbone, get("tasks", "text_classification")(), features, classes)
    print("| method | rate | tuneoff | Trainer + PEFT | difference, 95 % interval |")
    print("| --- | --- | --- | --- | --- |")
    for method, rate in zip(arguments.methods.split(","), arguments.rates.split(","), strict=True):
        mine, other = [], []
        for seed in range(arguments.seeds):
            mine.append(100 * ours(material, method, float(rate), arguments.epochs, seed))
            other.append(
                100 * theirs(arguments.model, material, method, float(rate), arguments.epochs, seed)
            )
        interval = stats.ttest_ind(mine, other, equal_var=False).confidence_interval(0.95)
        print(
            f"| {method} | {rate} | {np.mean(mine):.2f} ± {np.std(mine, ddof=1):.2f} | "
            f"{np.mean(other):.2f} ± {np.std(other, ddof=1):.2f} | "
            f"{np.mean(mine) - np.mean(other):+.2f} ({interval.low:+.2f} to "
            f"{interval.high:+.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
