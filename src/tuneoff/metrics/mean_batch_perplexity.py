"""Perplexity as some published studies computed it: from the mean of the losses of batches.

A batch is `batch_size` rows as they follow each other in the split; the last may be smaller. Its
loss is the mean over its labelled tokens, and all batches weigh alike, however many tokens they
hold. The value therefore moves with the batch size, which `perplexity` does not.

Source: the GPT-2 cells of Shared Task 4's study of LoRA and QLoRA ("exponentiating the mean
cross-entropy loss across evaluation batches"). The text names one batch size for GPT-2, 2, and none
for evaluation; 2 is taken.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from tuneoff.metrics import Metric, Predicted


class MeanBatchPerplexity(Metric):
    """exp(mean over batches of the batch's mean loss in nats per token); lower is better."""

    batch_size: int = Field(default=2, gt=0)
    """Rows per batch."""

    title = "perplexity (mean of batches)"
    needs = "losses"
    higher_is_better = False
    bounds = (1.0, math.inf)
    summed = True

    def statistics(self, rows: Predicted) -> np.ndarray:
        """(n, 2): a row's part in its batch's loss, and in the number of batches.

        Its part is what it moves the batch's mean by, and its share of that mean: parts of a batch
        sum to the batch's loss, and are the row's own loss where tokens are alike.
        """
        batch = np.arange(len(rows)) // self.batch_size
        tokens_B = np.bincount(batch, rows.tokens)
        rows_B = np.bincount(batch)
        means_B = np.bincount(batch, rows.losses * rows.tokens) / np.maximum(tokens_B, 1)
        moved = rows.tokens * (rows.losses - means_B[batch]) / np.maximum(tokens_B, 1)[batch]
        return np.stack([moved + (means_B / rows_B)[batch], (1 / rows_B)[batch]], axis=1)

    def from_sums(self, sums_BS: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            perplexities: np.ndarray = np.exp(sums_BS[:, 0] / sums_BS[:, 1])
        return perplexities
