"""Small cohorts on tiny models, for the engine's tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.backbones import tiny
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.registry import get
from tuneoff.study import Evaluation, Training
from tuneoff.training.features import Features
from tuneoff.training.outcome import Material

CLASSES = ("a", "b", "c")


def features(examples: int, seed: int, end: int | None = None) -> Features:
    """Random sequences of 2 to 20 tokens; the class stands in the tokens, so it is learnable."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 21, examples)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = rng.integers(0, 3, examples)
    tokens = rng.integers(4, 100, offsets[-1]).astype(np.int32)
    tokens[offsets[:-1]] = 10 + targets
    tokens[offsets[1:] - 1] = 20 + targets
    if end is not None:
        tokens[offsets[1:] - 1] = end
    return Features(tokens, offsets, targets)


def told(examples: int, seed: int) -> Features:
    """The same texts; to be said of each is 1 to 9 tokens and the end, here and there without a
    label."""
    read = features(examples, seed)
    rng = np.random.default_rng(seed + 1000)
    ends = np.concatenate([[0], np.cumsum(rng.integers(2, 11, examples))])
    targets = rng.integers(4, 100, ends[-1])
    targets[rng.random(len(targets)) < 0.1] = -100
    targets[ends[1:] - 1] = 1
    return Features(read.tokens, read.offsets, targets, form="sequence", target_offsets=ends)


def material(
    folder: Path,
    architecture: str = "bert",
    double: bool = True,
    quantization: str = "none",
    examples: int = 44,
) -> Material:
    """A tiny backbone with train, validation and test."""
    path = folder / architecture
    if not path.exists():
        tiny.save(architecture, path)
    backbone = load(BackboneOptions(str(path), quantization=quantization), classes=CLASSES)
    if double:
        backbone.model.double()
    end = 1 if "t5" in architecture else None  # whose state T5's classifier reads
    splits = {
        "train": features(examples, 0, end),
        "validation": features(17, 1, end),
        "test": features(19, 2, end),
    }
    return Material(backbone, get("tasks", "text_classification")(), splits, CLASSES)


def speaking(
    folder: Path,
    architecture: str = "t5",
    double: bool = True,
    quantization: str = "none",
    examples: int = 44,
) -> Material:
    """A tiny encoder-decoder that is to say something of each text."""
    path = tiny.save(architecture, folder / f"{architecture}-lm", "seq2seq_lm")
    backbone = load(BackboneOptions(str(path), quantization=quantization), "seq2seq_lm")
    if double:
        backbone.model.double()
    splits = {"train": told(examples, 0), "validation": told(17, 1)}
    return Material(backbone, get("tasks", "summarization")(), splits, ())


def spec(
    method: str,
    seed: int = 0,
    rate: float = 1e-3,
    kind: str = "run",
    training: dict[str, Any] | None = None,
    interpolation: tuple[float, ...] = (),
    **settings: Any,
) -> Any:
    """A run, with what the engine reads of a RunSpec; no dropout unless asked for."""
    given = {
        "epochs": 2,
        "batch_size": 8,
        "dropout": 0.0,
        "evaluate_every": 3,
        "cache_frozen_prefix": False,
    } | (training or {})
    part = get("methods", method)(**settings)
    return SimpleNamespace(
        method=SimpleNamespace(settings=part, name=method, method=method),
        training=Training(**given),
        evaluation=Evaluation(interpolation=interpolation),
        seed=seed,
        learning_rate=rate,
        kind=kind,
        run_id=f"{method}-{seed}-{rate}-{sorted(settings.items())}",
        task=SimpleNamespace(
            all_metrics=("accuracy",),
            primary_metric="accuracy",
            selection_metric=lambda _: "accuracy",
        ),
    )
