"""Tasks: rows -> features -> loss -> predictions. One file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tuneoff.settings import Settings

if TYPE_CHECKING:
    import torch

    from tuneoff.datasets import Rows
    from tuneoff.training.features import Features


class Task(Settings):
    """What the model is asked to do. Subclasses add fields: columns, lengths, options."""

    head: ClassVar[str]
    """Which head the backbone grows: `sequence_classification` or `causal_lm`."""
    metrics: ClassVar[tuple[str, ...]]
    """Metrics reported by default; the first is the one that methods are compared by."""

    def describe(self, train: Rows) -> Mapping[str, Any]:
        """What the data decides, from the train split alone: `{"classes": [...]}` for classification."""
        raise NotImplementedError

    def features(self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any) -> Features:
        """Token ids and targets of a split, unpadded, in row order; see `Features`."""
        raise NotImplementedError

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Per-row loss in nats. logits: (rows, classes or vocabulary); targets: (rows,); -> (rows,)."""
        raise NotImplementedError

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(rows,) predicted indices from (rows, classes) logits."""
        raise NotImplementedError
