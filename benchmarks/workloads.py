"""The work that is timed: random-weight models of published shapes, texts of natural lengths.

Lengths are lognormal (sigma 0.6, mean about 25 tokens, at most 128), as English sentences are.
Dropout is off so that both sides compute the same numbers.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.registry import get
from tuneoff.study import Training
from tuneoff.study_settings import Evaluation
from tuneoff.training.features import Features
from tuneoff.training.outcome import Material

CLASSES = ("0", "1", "2", "3", "4")
SHAPES = {  # layers, hidden
    "2x128": (2, 128),
    "6x256": (6, 256),
    "4x384": (4, 384),
    "12x768": (12, 768),
}


def bert_folder(shape: str, root: Path) -> Path:
    """A random BERT of this shape on disk, with BERT's vocabulary size."""
    import transformers as t

    layers, hidden = SHAPES[shape]
    folder = root / shape
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = t.BertConfig(
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            intermediate_size=4 * hidden,
            vocab_size=30522,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            num_labels=len(CLASSES),
        )
        t.BertForSequenceClassification(config).save_pretrained(folder)
        _tokenizer(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    """A word-level tokenizer that stands in: token ids are drawn, not read from text."""
    import transformers as t
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    t.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]").save_pretrained(folder)


def features(examples: int, seed: int = 0, vocabulary: int = 30522) -> Features:
    """Token ids without padding; the class can be read from the first token."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(25) - 0.18, 0.6, examples).round(), 4, 128).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = rng.integers(0, len(CLASSES), examples)
    tokens = rng.integers(1000, vocabulary, offsets[-1]).astype(np.int32)
    tokens[offsets[:-1]] = 101
    tokens[offsets[:-1] + 1] = 2000 + targets
    return Features(tokens, offsets, targets)


def material(
    folder: Path,
    train: int,
    evaluation: int = 0,
    quantization: str = "none",
    dequantized_cache_gb: float | None = None,
) -> Material:
    """The loaded backbone with its data."""
    options = BackboneOptions(
        str(folder), quantization=quantization, dequantized_cache_gb=dequantized_cache_gb
    )
    splits = {"train": features(train, 0)}
    if evaluation:
        splits["validation"] = features(evaluation, 1)
    return Material(
        load(options, classes=CLASSES), get("tasks", "text_classification")(), splits, CLASSES
    )


def run(
    method: str,
    epochs: float = 1,
    batch_size: int = 32,
    rate: float = 5e-4,
    seed: int = 0,
    cached: bool = True,
    **settings: Any,
) -> Any:
    """What the engine reads of a RunSpec."""
    part = get("methods", method)(**settings)
    return SimpleNamespace(
        method=SimpleNamespace(settings=part, name=method, method=method),
        training=Training(
            epochs=epochs, batch_size=batch_size, dropout=0.0, cache_frozen_prefix=cached
        ),
        seed=seed,
        learning_rate=rate,
        kind="run",
        evaluation=Evaluation(),
        run_id=f"{method}-{seed}-{rate}-{settings}",
        task=SimpleNamespace(
            all_metrics={"accuracy": get("metrics", "accuracy")()},
            primary_metric="accuracy",
            selection_metric=lambda _: "accuracy",
        ),
    )
