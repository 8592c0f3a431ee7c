"""A saved model, loaded and ready to score: what `tuneoff predict` and the check share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.errors import BackboneError
from tuneoff.tasks import NEW_ROWS
from tuneoff.winner.manifest import Manifest, read_manifest, weights_hash

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook
    from tuneoff.tasks import Task
    from tuneoff.training.features import Features
    from tuneoff.winner.answering import Answerer
    from tuneoff.winner.scorer import Scorer


@dataclass
class Loaded:
    """A saved model with its tokenizer and task."""

    manifest: Manifest
    scorer: Scorer
    task: Task
    tokenizer: Any

    @cached_property
    def answerer(self) -> Answerer:
        """The model as it answers rows: in classes, spans, words or texts."""
        return self.answering(self.scorer.hooks)

    def answering(self, hooks: Mapping[str, Hook], **other: Any) -> Answerer:
        """The same with other hooks, or another arithmetic or forward."""
        from tuneoff.winner.answering import Answerer

        settings = {"precision": self.manifest.precision, "seed": self.manifest.seed, **other}
        backbone = settings.pop("backbone", self.scorer.backbone)
        return Answerer(backbone, hooks, self.task, self.manifest.classes, **settings)

    def facts(self, split: str = NEW_ROWS) -> dict[str, Any]:
        """What the task is told about rows, as in training."""
        backbone, manifest = self.scorer.backbone, self.manifest
        return {
            "columns": manifest.data.texts,
            "classes": manifest.classes,
            "kind": manifest.kind or backbone.kind,
            "head": backbone.head,
            "room": manifest.room,
            "split": split,
        }

    def features(self, texts: Mapping[str, Sequence[Any]]) -> Features:
        """Token ids of rows that are given as columns under the task's own names."""
        from tuneoff.data.token_store import in_memory

        columns = {name: list(values) for name, values in texts.items()}
        made = self.task.encode(columns, self.facts(), self.tokenizer)
        return in_memory([made], self.task.form_for(self.scorer.backbone.head))

    def probabilities(self, texts: Mapping[str, Sequence[str]], batch_size: int = 32) -> np.ndarray:
        """(N, C) float64 class probabilities of rows; of a task with a class for each text."""
        return self.scorer.probabilities(self.features(texts), batch_size)


def load_winner(
    folder: Path,
    device: str = "auto",
    backbone: str | None = None,
    quantization: str | None = None,
) -> Loaded:
    """What a folder holds, on its backbone. backbone: another place where the backbone lies;
    quantization: of a whole model, to be loaded rounded.

    Raises BackboneError when the backbone is missing, or is not the one that was trained on.
    """
    from transformers import AutoTokenizer

    from tuneoff.winner.forms import read_hooks
    from tuneoff.winner.scorer import Scorer

    manifest = read_manifest(folder)
    base = load_backbone(manifest, folder, device, backbone, quantization)
    hooks = read_hooks(manifest.form, folder, base, manifest.make_method())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base.tokenizer = tokenizer
    scorer = Scorer(base, hooks, manifest.precision)
    return Loaded(manifest, scorer, manifest.make_task(), tokenizer)


def load_backbone(
    manifest: Manifest,
    folder: Path,
    device: str = "auto",
    backbone: str | None = None,
    quantization: str | None = None,
) -> Backbone:
    """The frozen model below what is saved; a whole model is its own."""
    from tuneoff.backbones.backbone import BackboneOptions, kind_of, load

    place = chosen_device(device)
    if manifest.form == "model":
        options = BackboneOptions(model=str(folder.absolute()))
        if quantization is not None:  # rounded as the backbone was
            own = manifest.backbone_options(options.model)
            options = replace(own, quantization=quantization, revision=None, new_tokens=())
    else:
        options = manifest.backbone_options(backbone)
        _same_weights(manifest, options.model, options.revision, folder)
    head = manifest.head or manifest.make_task().head_for(kind_of(options))
    return load(options, head, manifest.classes, place)


def chosen_device(name: str) -> str:
    """`cpu`, `cuda`, ... ; `auto` takes a GPU where there is one.

    Raises BackboneError when a GPU is asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BackboneError("device 'cuda': PyTorch finds no GPU here; use `cpu` or `auto`")
    return name


def _same_weights(manifest: Manifest, model: str, revision: str | None, folder: Path) -> None:
    try:
        found = weights_hash(model, revision)
    except BackboneError as error:
        raise BackboneError(
            f"{folder} was trained on the backbone {manifest.backbone.name!r}, and it is not here: "
            f"{error}. If it lies somewhere else on this machine, name that folder as the backbone "
            "(--backbone FOLDER)"
        ) from None
    if found != manifest.backbone.weights:
        raise BackboneError(
            f"the backbone at {model} is not the one that {folder} was trained on: its weight "
            f"files have the hash {found}, expected {manifest.backbone.weights}. With other "
            "weights below it the predictions would be wrong; name the right folder as the "
            "backbone (--backbone FOLDER)"
        )
