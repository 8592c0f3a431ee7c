"""Evaluation: members of a cohort read a split together, longest examples first, unpadded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.metrics import evaluate as score
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.outcome import Material
from tuneoff.training.prefix import by_length

if TYPE_CHECKING:
    from tuneoff.training.passes import Passes

_TOKENS = 4096


@dataclass(frozen=True)
class Evaluation:
    """One member on one split. Columns have one entry per row of the head: an example, or a
    labelled token. row: index of the example; probabilities: (rows, C), classification only."""

    row: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    loss: np.ndarray
    probabilities: np.ndarray | None

    def metrics(self, names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
        """Scores by metric name."""
        return score(names, self.label, self.prediction, self.loss, classes)

    def columns(self, split: str) -> dict[str, Any]:
        """The ledger's columns."""
        columns: dict[str, Any] = {
            "split": np.full(len(self.row), split),
            "row": self.row,
            "label": self.label,
            "prediction": self.prediction,
            "loss": self.loss,
        }
        if self.probabilities is not None:
            columns["probabilities"] = self.probabilities
        return columns


@torch.no_grad()
def evaluate(passes: Passes, material: Material, split: str) -> list[Evaluation]:
    """Every member that `passes` carries on a split, dropout off, in order of the rows."""
    features = material.features[split]
    members = passes.count
    parts: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(members)]
    passes.set_training(False)
    for indices in by_length(features, max(_TOKENS // members, 512)):
        layout = layouts.build(
            features, [indices] * members, passes.reads, material.backbone.device
        )
        logits = passes.logits(layout, split)
        rows = _examples_of_rows(layout, features)
        for member, (start, end) in enumerate(layout.row_bounds):
            parts[member].append(
                _columns(material, logits[start:end], layout.targets[start:end], rows[start:end])
            )
    return [_joined(member) for member in parts]


def _columns(
    material: Material, logits: Tensor, targets: Tensor, rows: np.ndarray
) -> tuple[np.ndarray, ...]:
    logits = logits.float() if logits.dtype != torch.float64 else logits
    losses = material.task.losses(logits, targets)
    values = logits.cpu().numpy()
    predictions = material.task.predictions(values)
    probabilities = (
        torch.softmax(logits, -1).cpu().numpy().astype(np.float32)
        if material.classes
        else np.zeros((len(rows), 0), np.float32)
    )
    return (rows, targets.cpu().numpy(), predictions, losses.double().cpu().numpy(), probabilities)


def _joined(parts: list[tuple[np.ndarray, ...]]) -> Evaluation:
    row, label, prediction, loss, probabilities = (
        np.concatenate(c) for c in zip(*parts, strict=True)
    )
    order = np.argsort(row, kind="stable")
    return Evaluation(
        row[order],
        label[order],
        prediction[order],
        loss[order],
        probabilities[order] if probabilities.shape[1] else None,
    )


def _examples_of_rows(layout: layouts.Layout, features: Features) -> np.ndarray:
    """(R,) the example that each row of the head belongs to."""
    if layout.one_row_per_sequence:
        return layout.order.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(features.lengths[layout.order])])
    sequence = np.searchsorted(starts, layout.rows.cpu().numpy(), side="right") - 1
    return layout.order[sequence].astype(np.int64)
