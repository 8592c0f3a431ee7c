"""Simulated results folders for tests: the form is the ledger's own, every number is invented.

    folder = make_folder(tmp_path, seed=0)

A method has a true accuracy, a spread over seeds and costs; a test row has a difficulty that all
methods share. `strengths` overrides the true accuracies, so that a test can plant a difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuneoff.ledger import Ledger
from tuneoff.metrics import Predicted, evaluate

# true accuracy, seed sd, learning rate, trainable share, peak memory in MB, training seconds
METHODS: dict[str, tuple[float, float, float, float, float, float]] = {
    "full": (0.900, 0.006, 5e-5, 1.0, 900, 60),
    "lora": (0.896, 0.005, 3e-4, 0.02, 520, 48),
    "qlora": (0.890, 0.006, 3e-4, 0.02, 300, 85),
    "adapter": (0.893, 0.005, 5e-4, 0.03, 540, 50),
    "bitfit": (0.870, 0.005, 1e-3, 0.002, 480, 42),
    "ia3": (0.862, 0.006, 3e-3, 0.001, 500, 45),
    "last_layer": (0.800, 0.004, 1e-3, 0.0005, 150, 9),
}
NAMES = ["accuracy", "macro_f1", "micro_f1", "weighted_f1", "matthews", "loss"]
NAMES += ["confusion_matrix", "per_class"]
CLASSES = ["negative", "neutral", "positive"]
PARAMETERS = 3_000_000


def make_folder(
    path: str | Path,
    seed: int = 0,
    methods: Sequence[str] = tuple(METHODS),
    backbones: int = 1,
    failures: bool = True,
    seeds: Sequence[int] = (0, 1, 2),
    n_test: int = 600,
    strengths: Mapping[str, float] | None = None,
) -> Path:
    """Writes a folder as a study would have left it, and returns its path.

    backbones: how many contests (1 or 2). failures: the first backbone gains a diverged, an
    out-of-memory and a skipped run, and with them a method that never finished (`dora`).
    """
    random = np.random.default_rng(seed)
    names = ["mini-bert", "tiny-gpt"][:backbones]
    with Ledger(path) as ledger:
        for backbone in names:
            labels = random.integers(0, len(CLASSES), n_test)
            difficulty = random.normal(size=n_test)
            for method in methods:
                true = (strengths or {}).get(method, METHODS[method][0])
                taste = random.normal(size=n_test)
                _probes(ledger, backbone, method, true)
                _profile(ledger, backbone, method)
                for number in seeds:
                    score = true + random.normal() * METHODS[method][1]
                    noise = 1.0 * difficulty + 0.5 * taste + 0.4 * random.normal(size=n_test)
                    columns = _columns(random, labels, noise, score)
                    ledger.append(_record(backbone, method, number, columns, n_test), columns)
            if failures and backbone == names[0]:
                _failures(ledger, backbone, methods[0], max(seeds) + 1)
    return Path(path)


def _columns(
    random: np.random.Generator, labels: np.ndarray, noise: np.ndarray, score: float
) -> dict[str, np.ndarray]:
    """Predictions that are right for the share `score` of the rows, the easy ones first."""
    n, classes = len(labels), len(CLASSES)
    right = noise < np.quantile(noise, min(max(score, 0.0), 1.0))
    wrong = (labels + random.integers(1, classes, n)) % classes
    predictions = np.where(right, labels, wrong)
    confidence = random.uniform(0.5, 0.98, n)
    probabilities = np.repeat((1 - confidence)[:, None] / (classes - 1), classes, axis=1)
    probabilities[np.arange(n), predictions] = confidence
    return {
        "split": np.repeat("test", n),
        "row": np.arange(n),
        "label": labels,
        "prediction": predictions,
        "loss": -np.log(probabilities[np.arange(n), labels]),
        "probabilities": probabilities,
    }


def run_id(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _settings(method: str) -> dict[str, Any]:
    extra = {"rank": 8, "alpha": 16} if method in ("lora", "qlora", "dora") else {}
    rate = METHODS[method][2] if method in METHODS else 3e-4
    return {
        "method": {"name": method, "learning_rate": rate, **extra},
        "training": {"epochs": 3, "batch_size": 16},
        "backbone": {"quantization": "nf4" if method == "qlora" else None},
        "task": {"name": "classification"},
    }


def _cost(method: str) -> dict[str, Any]:
    _, _, _, share, memory, seconds = METHODS[method]
    return {
        "trainable_parameters": int(PARAMETERS * share),
        "total_parameters": PARAMETERS,
        "load_seconds": 0.4,
        "train_seconds": float(seconds),
        "evaluation_seconds": 2.0,
        "step_seconds": seconds / 375,
        "tokens_per_second": 150_000 / seconds,
        "peak_memory_bytes": int(memory * 1e6),
        "peak_reserved_bytes": None,
        "adapter_bytes": int(PARAMETERS * share * 4) + 2048,
        "inference_seconds_per_example": 0.0011,
        "inference_peak_memory_bytes": int(memory * 2e5),
        "measured": "solo",
    }


def _common(backbone: str, method: str, number: int) -> dict[str, Any]:
    settings = _settings(method)
    return {
        "run_id": run_id(backbone, settings, number),
        "kind": "run",
        "study": "simulated",
        "backbone": backbone,
        "task": "synthetic",
        "method": method,
        "settings": settings,
        "seed": number,
        "learning_rate": settings["method"]["learning_rate"],
        "classes": CLASSES,
        "primary_metric": "accuracy",
        "cohort": {"id": "c0", "size": 3},
        "micro_batch_size": 16,
        "retries": [],
        "notes": [],
        "data": {
            "train": 2000,
            "validation": 200,
            "test": 600,
            "fingerprint": "simulated",
            "leaked_test_rows": 0,
            "truncated": {"train": 0},
        },
        "versions": {"tuneoff": "0.1.0", "torch": "2.13.0", "python": "3.11.0"},
        "code": "simulated",
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:01:00+00:00",
    }


def _record(
    backbone: str, method: str, number: int, columns: Mapping[str, np.ndarray], n_test: int
) -> dict[str, Any]:
    rows = Predicted(
        losses=columns["loss"],
        labels=columns["label"],
        predictions=columns["prediction"],
        classes=CLASSES,
    )
    scores = evaluate(NAMES, rows)
    record = _common(backbone, method, number)
    record["data"]["test"] = n_test
    steps = range(125, 376, 125)
    return {
        **record,
        "status": "done",
        "reason": None,
        "metrics": {
            "validation": {key: scores[key] for key in ("accuracy", "macro_f1", "loss")},
            "test": scores,
        },
        "history": [
            {
                "step": step,
                "epoch": step / 125,
                "train_loss": 0.3 + 40 / step,
                "validation": {
                    "accuracy": scores["accuracy"] * (1 - 10 / step),
                    "loss": scores["loss"] + 20 / step,
                },
            }
            for step in steps
        ],
        "best_step": 375,
        "steps": 375,
        "cost": _cost(method),
    }


def _probes(ledger: Ledger, backbone: str, method: str, true: float) -> None:
    """Three rates; the middle one, which the runs use, is the best."""
    rate = METHODS[method][2]
    for factor, loss in ((1 / 3, 0.03), (1.0, 0.01), (3.0, 0.05)):
        record = _common(backbone, method, 0)
        ledger.append_probe(
            {
                **record,
                "run_id": run_id("probe", backbone, method, factor),
                "kind": "probe",
                "status": "done",
                "reason": None,
                "learning_rate": rate * factor,
                "metrics": {"validation": {"accuracy": true - loss, "loss": 0.4 + loss}},
                "steps": 60,
            }
        )


def _profile(ledger: Ledger, backbone: str, method: str) -> None:
    record = _common(backbone, method, 0)
    kept = ("backbone", "task", "method", "settings", "versions", "code")
    cost = _cost(method)
    predicted = {"peak_memory_bytes": cost["peak_memory_bytes"] // 2, "train_seconds": 100.0}
    profile = {key: record[key] for key in kept} | {"predicted": predicted, "cost": cost}
    ledger.append_profile(profile)


def _failures(ledger: Ledger, backbone: str, method: str, number: int) -> None:
    broken = (
        (method, number, "diverged", "the loss was NaN at step 40 (learning rate 5e-05)"),
        ("dora", 0, "out_of_memory", "out of memory at micro-batch size 1"),
        ("dora", 1, "skipped", "predicted peak memory 9.1 GB, available 6.0 GB"),
    )
    for name, seed, status, reason in broken:
        ledger.append(
            {
                **_common(backbone, name, seed),
                "status": status,
                "reason": reason,
                "metrics": {},
                "history": [],
                "best_step": None,
                "steps": 40 if status == "diverged" else 0,
                "cost": dict.fromkeys(_cost("full")),
            }
        )
