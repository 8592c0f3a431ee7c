"""Tasks: rows -> features -> loss -> predictions. One file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tuneoff.settings import Settings

if TYPE_CHECKING:
    import torch

    from tuneoff.datasets import Rows
    from tuneoff.training.features import Features

_ROWS = 1024  # rows that are tokenized at a time
UNLABELLED = -100


@dataclass(frozen=True)
class Examples:
    """Some rows as a task encodes them.

    ids: token ids of each example; types: its segment ids, or None; targets: (examples,) int64
    class indices, or (tokens,) int64 end to end; truncated: rows that were cut; left_out:
    reason -> what gave no example.
    """

    ids: Sequence[Sequence[int]]
    targets: np.ndarray
    types: Sequence[Sequence[int]] | None = None
    truncated: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


class Task(Settings):
    """What the model is asked to do. Subclasses add fields: lengths, options.

    A task reads columns by fixed names (`text`, `label`); the study's `columns` says what the data
    calls them.
    """

    head: ClassVar[str]
    """Which head the backbone grows: `sequence_classification` or `causal_lm`."""
    metrics: ClassVar[tuple[str, ...]]
    """Metrics reported by default; the first is the one that methods are compared by."""
    label: ClassVar[str | None] = None
    """The column of the answer, where rows have one: splits are stratified by it."""

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        """The columns of text that the task reads, from those that the data has."""
        raise NotImplementedError

    def describe(self, train: Rows) -> Mapping[str, Any]:
        """What the data decides, from the train split alone, as plain JSON data.

        Always `columns`: the text columns that are read. For classification `classes` too.
        """
        raise NotImplementedError

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        """Some rows, given as columns, as examples in row order.

        A batch without the label's column gets targets of `UNLABELLED` (-100).
        """
        raise NotImplementedError

    def features(
        self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, *, labelled: bool = True
    ) -> Features:
        """Token ids and targets of a split, unpadded, in row order, in memory; see `Features`.

        `tuneoff.data.encoded.prepare` does the same on disk and keeps the result.
        """
        from tuneoff.data.token_store import in_memory

        return in_memory(self.examples(rows, facts, tokenizer, labelled=labelled))

    def examples(
        self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, *, labelled: bool = True
    ) -> Any:
        """Iterates over `Examples`, some rows at a time."""
        columns = [*facts["columns"], *([self.label] if self.label and labelled else [])]
        rows.require(columns)
        for batch in rows.batches(_ROWS, columns):
            yield self.encode(batch, facts, tokenizer)

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss in nats: logits (rows, classes or vocabulary), targets (rows,) -> (rows,)."""
        raise NotImplementedError

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(rows,) predicted indices from (rows, classes) logits."""
        raise NotImplementedError
