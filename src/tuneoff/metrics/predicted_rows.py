"""Predicted: what one run answered on one split, in columns, as metrics read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tuneoff.metrics._counts import confusion


@dataclass(frozen=True)
class Predicted:
    """n rows: examples, or questions, or texts.

    losses: (n,) float64, nats, the mean over a row's labelled tokens; tokens: (n,) how many those
    are (ones for classification); labels, predictions: (n,) int64 class indices; classes: names by
    index; texts: answers; references: right answers, one or more each; prompts: what was asked.
    kept: metric name -> (n, s), tables of metrics that read texts: `evaluate` puts them there, and
    those that lie in the ledger are read from it.
    """

    losses: np.ndarray
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: np.ndarray | None = None
    predictions: np.ndarray | None = None
    classes: Sequence[str] = ()
    texts: Sequence[str] | None = None
    references: Sequence[Sequence[str]] | None = None
    prompts: Sequence[str] | None = None
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(n,) int64, where each stands in its split."""
    probabilities: np.ndarray | None = None
    """(n, classes) float32."""
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    beside: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """What else people see of new rows, by column: where an answer stands in its context."""

    def __post_init__(self) -> None:
        if not len(self.tokens):
            object.__setattr__(self, "tokens", np.ones(len(self.losses), np.int64))
        if not len(self.rows):
            object.__setattr__(self, "rows", np.arange(len(self.losses)))

    def __len__(self) -> int:
        return len(self.losses)

    def has(self, needs: str) -> bool:
        """Whether a metric that needs `losses`, `classes` or `texts` can be computed."""
        if needs == "classes":
            return self.labels is not None and self.predictions is not None
        return needs == "losses" or (self.texts is not None and self.references is not None)

    def confusion(self) -> np.ndarray:
        """(C, C) counts, labels by predictions."""
        assert self.labels is not None
        assert self.predictions is not None
        return confusion(self.labels, self.predictions, len(self.classes))

    def take(self, places: np.ndarray) -> Predicted:
        """The rows at these places, in their order."""

        def some(column: Sequence[object] | None) -> list[object] | None:
            return None if column is None else [column[place] for place in places]

        def cut(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[places]

        return Predicted(
            losses=self.losses[places],
            tokens=self.tokens[places],
            labels=cut(self.labels),
            predictions=cut(self.predictions),
            classes=self.classes,
            texts=some(self.texts),  # type: ignore[arg-type]
            references=some(self.references),  # type: ignore[arg-type]
            prompts=some(self.prompts),  # type: ignore[arg-type]
            rows=self.rows[places],
            probabilities=cut(self.probabilities),
            kept={name: table[places] for name, table in self.kept.items()},
            beside={name: [column[i] for i in places] for name, column in self.beside.items()},
        )
