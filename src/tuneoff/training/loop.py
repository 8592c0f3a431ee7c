"""The one training loop: cohorts of members over one frozen backbone.

    outcomes = train_cohort(specs, material, checkpoint=Path("checkpoints/c0.pt"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuneoff.runs import RunSpec
from tuneoff.training.outcome import Limits, Material, Outcome, Report


def train_cohort(specs: Sequence[RunSpec], material: Material, checkpoint: Path | None = None,
                 limits: Limits = Limits(), report: Report | None = None) -> list[Outcome]:
    """Train, choose the best checkpoint on the validation split, test once; in the specs' order.

    checkpoint: file that holds the whole state of the cohort, written atomically; when it exists,
    training goes on from it, to the same final numbers bit for bit on a CPU. The caller removes it
    when the outcomes are safe.

    A member that diverges or fails leaves without harm to the others. Out of memory is not caught
    here: torch.OutOfMemoryError or MemoryError reaches the caller, who may try again with smaller
    `limits.micro_batch_tokens`, from the checkpoint.
    """
    raise NotImplementedError
