"""Metrics: predictions -> score. One file each; the stem is the metric's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from tuneoff import registry
from tuneoff.metrics.predicted_rows import Predicted
from tuneoff.settings import Settings

__all__ = ["Metric", "Predicted", "evaluate"]

Needs = Literal["losses", "classes", "texts"]


class Metric(Settings):
    """One score, from whole columns of predictions (never averaged over batches).

    Subclasses define one of `values` (with `per_example`), `from_counts` (with `counted`),
    `statistics` and `from_sums` (with `summed`) or `score`. All but the last also let
    `tuneoff.statistics` draw test rows again quickly. Fields are settings that a study may write:
    `metric: {bertscore_f1: {layer: 9}}`; all of them need defaults.
    """

    title: ClassVar[str] = ""
    """Its name in tables, where that is more than the file's with spaces."""
    needs: ClassVar[Needs] = "classes"
    """What rows must have: their loss, a class, or a text beside its references."""
    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The least and the greatest score that can be. A score from 0 to 1 is shown in percent."""
    per_example: ClassVar[bool] = False
    """True when the score is `from_mean` of the mean of per-example `values`."""
    counted: ClassVar[bool] = False
    """True when the score is `from_counts` of the confusion matrix."""
    summed: ClassVar[bool] = False
    """True when the score is `from_sums` of the sum of per-example `statistics`."""
    at_the_end: ClassVar[bool] = False
    """True when it is measured on the test split only, after training: another model answers."""

    def score(self, rows: Predicted) -> Any:
        """A float, or plain JSON data for tables such as a confusion matrix."""
        if self.per_example or self.summed:
            return self.from_table(self.table(rows))
        counts = rows.confusion()
        return float(self.from_counts(counts[None])[0])

    def values(self, rows: Predicted) -> np.ndarray:
        """(n,) per-example values whose mean gives the score."""
        raise NotImplementedError

    def from_mean(self, mean: np.ndarray) -> np.ndarray:
        """The scores of means of `values`, elementwise."""
        return mean

    def from_counts(self, counts_BCC: np.ndarray) -> np.ndarray:
        """(B,) scores of B confusion matrices, labels by predictions, whole or weighted counts."""
        raise NotImplementedError

    def statistics(self, rows: Predicted) -> np.ndarray:
        """(n, s) float64 of each row, which add up over rows: matches and lengths, say."""
        raise NotImplementedError

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        """(B,) scores of B sums of `statistics`."""
        raise NotImplementedError

    def table(self, rows: Predicted) -> np.ndarray:
        """(n, s) of each row, that the score follows from: its value, or its statistics."""
        return self.values(rows)[:, None] if self.per_example else self.statistics(rows)

    def from_table(self, table: np.ndarray) -> float:
        """The score of a `table`."""
        if self.per_example:
            return float(self.from_mean(table.mean(0))[0])
        return float(self.from_sums(table.sum(0, keepdims=True))[0])

    def details(self, rows: Predicted) -> dict[str, Any]:
        """How it was measured, as plain JSON data for the record: a signature, a model, counts."""
        return {}

    def problems(self) -> list[str]:
        """What keeps it from being measured on this machine; asked before anything is trained."""
        return []

    def identity(self) -> dict[str, Any]:
        """What of its settings decides the score, for the run's id: content, not places."""
        return self.model_dump(mode="json")


def evaluate(
    metrics: Iterable[str] | Mapping[str, Metric], rows: Predicted, at_the_end: bool = True
) -> dict[str, Any]:
    """Scores by metric name, as they stand in a line of the ledger.

    metrics: names, or metrics with their settings by name. at_the_end: False leaves those out that
    are only measured then. Metrics that need what the rows do not have (texts that were not
    generated) are left out. Tables of metrics that read texts stay in `rows.kept`.
    Raises TuneoffError for a metric that is not known, before anything is computed.
    """
    if not isinstance(metrics, Mapping):
        metrics = {name: registry.get("metrics", name)() for name in metrics}
    scores = {}
    for name, metric in metrics.items():
        if not rows.has(metric.needs) or (metric.at_the_end and not at_the_end):
            continue
        if metric.needs == "texts" and (metric.per_example or metric.summed):
            rows.kept[name] = metric.table(rows)
            scores[name] = metric.from_table(rows.kept[name])
        else:
            scores[name] = metric.score(rows)
    return scores
