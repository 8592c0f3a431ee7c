"""Stand-ins for trained runs: hooks with random values, in place of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.backbones import tiny
from tuneoff.backbones.backbone import Backbone, BackboneOptions, load
from tuneoff.methods import Method
from tuneoff.training.features import Features
from tuneoff.winner.scorer import Scorer, empty_hooks

CLASSES = ["bad", "fair", "good"]
LENGTHS = [7, 1, 12, 3, 12, 20, 9]


def backbone(
    architecture: str, folder: Path, quantization: str = "none", double: bool = False
) -> Backbone:
    """A tiny random backbone without a head of its own, so that heads and poolers are new."""
    import transformers

    saved = tiny.save(architecture, folder / architecture)
    if architecture not in ("t5",):  # whose headless form would be another class
        model = transformers.AutoModelForSequenceClassification.from_pretrained(saved)
        base = getattr(model, model.base_model_prefix)
        if architecture == "bert":
            base.pooler = None
        base.save_pretrained(saved)
    made = load(BackboneOptions(str(saved), quantization=quantization), classes=CLASSES)
    if double:
        made.model.double()
    return made


def scorer(made: Backbone, method: Method, seed: int = 0) -> Scorer:
    """A scorer whose hooks and head have random values away from where training starts."""
    hooks = empty_hooks(made, method)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for hook in hooks.values():
            for parameter in hook.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(noise.to(parameter.dtype), alpha=0.1)
    return Scorer(made, hooks)


def features(eos: bool = False) -> Features:
    """Seven examples of one to twenty tokens; with the token for their end where T5 reads it."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(4, 100, offsets[-1]).astype(np.int32)
    if eos:
        tokens[offsets[1:] - 1] = 1
    return Features(tokens, offsets, rng.integers(0, 3, len(LENGTHS)))


def id_lists(data: Features) -> list[list[int]]:
    """The token ids of each example."""
    return [data.tokens[a:b].tolist() for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
