"""Evaluation: members of a cohort read a split together, longest examples first, unpadded; and
answer it in text, where the task does so and it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tuneoff import registry
from tuneoff.data.batches import micro_batches
from tuneoff.errors import TuneoffError
from tuneoff.metrics import Metric, Predicted
from tuneoff.metrics import evaluate as scored
from tuneoff.tasks import Outputs
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.layout import Layout
from tuneoff.training.outcome import Material
from tuneoff.training.prefix import by_length

if TYPE_CHECKING:
    from tuneoff.training.passes import Passes

_LEAST_TOKENS = 512


@torch.no_grad()
def evaluate(
    passes: Passes,
    material: Material,
    split: str,
    in_text: bool = False,
    batch_size: int | None = None,
) -> list[Predicted]:
    """Every member that `passes` carries on a split, dropout off, in order of the rows.

    in_text: generate answers too, where the task does; batch_size: most examples at a time, in
    place of so many tokens.
    """
    features, task = material.features[split], material.task
    tokenizer = material.backbone.tokenizer
    members = passes.count
    found = [_Collected(features) for _ in range(members)]
    passes.set_training(False)
    tokens = passes.limits.evaluation_tokens
    least = min(tokens, _LEAST_TOKENS)
    for indices in _batches(features, max(tokens // members, least), batch_size):
        layout = layouts.build(
            features, [indices] * members, passes.reads, material.backbone.device
        )
        logits = passes.logits(layout, split)
        logits = logits.float() if logits.dtype != torch.float64 else logits
        losses = task.losses(logits, layout).double().cpu().numpy()
        kept = task.keep(logits, layout, tokenizer)
        values = None if kept is None else kept.cpu().numpy()
        for member, one in enumerate(found):
            one.add(member, layout, losses, values)
        del logits  # or they would stand beside the next batch's
    generated: Sequence[Any] = [None] * members
    if in_text and material.generation() is not None:
        generated = written(passes, material, features, batch_size)
    return [
        task.answers(one.outputs(new), features, material.classes, tokenizer)
        for one, new in zip(found, generated, strict=True)
    ]


def _batches(features: Features, tokens: int, size: int | None) -> Iterable[np.ndarray]:
    if not len(features):
        return ()
    if size is None:
        return by_length(features, tokens)
    return micro_batches(np.arange(len(features)), features.lengths, size)


def written(
    passes: Passes, material: Material, features: Features, batch_size: int | None = None
) -> list[list[list[int]]]:
    """What each member writes, as token ids, where the examples of a generating task ask.

    batch_size: most examples at a time, in place of so many tokens.
    """
    from tuneoff.training.generation import generate

    task, tokenizer, settings = material.task, material.backbone.tokenizer, material.generation()
    assert settings is not None
    prompts = task.prompts(features, tokenizer)
    tokens = passes.limits.generation_tokens
    if batch_size is not None:
        longest = max(map(len, prompts), default=0) + settings.max_new_tokens
        tokens = batch_size * longest * settings.num_beams * passes.count
    ends = task.ends(material.backbone.head, tokenizer)
    return generate(passes, prompts, settings, end=ends, batch_tokens=tokens)


class _Collected:
    """One member's losses and kept logits, example by example, in the order of the split."""

    def __init__(self, features: Features):
        self.losses = np.zeros(len(features))
        self.tokens = np.zeros(len(features), np.int64)
        self.kept: list[np.ndarray | None] = [None] * len(features)

    def add(self, member: int, layout: Layout, losses: np.ndarray, kept: np.ndarray | None) -> None:
        """Takes this member's part of a batch."""
        start, end = layout.loss_bounds[member]
        first, last = layout.sequence_bounds[member]
        sequence = layout.sequence_of_loss[start:end] - first
        examples = layout.order[first:last]
        counts = np.bincount(sequence, minlength=last - first)
        sums = np.bincount(sequence, losses[start:end], minlength=last - first)
        self.losses[examples] = sums / np.maximum(counts, 1)
        self.tokens[examples] = counts
        if kept is None:
            return
        start, end = layout.row_bounds[member]
        edges = np.cumsum(layout.lengths[first:last].cpu().numpy())[:-1]
        rows = np.split(kept[start:end], edges) if layout.form == "span" else kept[start:end]
        for example, row in zip(examples, rows, strict=True):
            self.kept[example] = row

    def outputs(self, generated: Sequence[Sequence[int]] | None) -> Outputs:
        """All of it."""
        kept: Any = self.kept
        if any(row is None for row in kept):
            kept = None
        elif len({row.shape for row in kept}) == 1 and kept[0].ndim == 1:
            kept = np.stack(kept)
        return Outputs(self.losses, self.tokens, kept, generated)


def final_scores(
    metrics: Mapping[str, Metric] | Iterable[str], rows: Predicted, split: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores of a trained run, and how each was measured, by metric.

    What is measured at the end alone depends on other models and machines: where that fails, the
    score is None and the reason stands in the details, and the run with its other scores is safe.
    """
    if not isinstance(metrics, Mapping):
        metrics = {name: registry.get("metrics", name)() for name in metrics}
    scores: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for name, metric in metrics.items():
        try:
            found = scored({name: metric}, rows, at_the_end=split != "validation")
            about = metric.details(rows) if found else {}
        except TuneoffError as error:
            if not metric.at_the_end:
                raise
            found, about = {name: None}, {"failed": str(error)}
        scores |= found
        details |= {name: about} if about else {}
    return scores, details


def columns_of(rows: Predicted, split: str, primary: str) -> dict[str, Any]:
    """The ledger's columns. primary: the metric whose statistics are kept, if it reads texts."""
    columns = {
        "split": np.full(len(rows), split),
        "row": rows.rows,
        "label": rows.labels,
        "prediction": rows.predictions,
        "loss": rows.losses,
        "tokens": rows.tokens,
        "probabilities": rows.probabilities,
        "text": rows.texts,
        "references": rows.references,
        "statistics": rows.kept.get(primary),
    }
    return {name: column for name, column in columns.items() if column is not None}


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of several splits as one; what a split does not have is null, or not a number."""
    names = dict.fromkeys(name for part in parts for name in part)
    found = {}
    for name in names:
        column: list[Any] = []
        some = next(part[name] for part in parts if name in part)
        for part in parts:
            rows = len(part["row"])
            if name in part:
                column.extend(part[name])
            elif isinstance(some, np.ndarray):
                column.extend(np.full((rows, *some.shape[1:]), np.nan))
            else:
                column.extend([None] * rows)
        found[name] = np.array(column) if isinstance(some, np.ndarray) else column
    return found
