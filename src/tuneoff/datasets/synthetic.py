"""The built-in dataset: sentences made by rule, for trying tuneoff out without any data.

    data: {dataset: synthetic}

It is called synthetic wherever it is shown, for it says nothing about real data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from tuneoff.datasets import Dataset, Rows
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.datasets.synthetic_rows import LABELS, Split, generate


class Synthetic(Dataset):
    """Texts with the writer's opinion as label; see `synthetic_rows.py` for the rules."""

    train: int = Field(default=2000, ge=2)
    """Rows to learn from."""
    validation: int = Field(default=500, ge=1)
    """Rows to choose by."""
    test: int = Field(default=1000, ge=1)
    """Rows to judge by."""
    seed: int = Field(default=0, ge=0)
    """Other seeds make other rows by the same rules."""

    synthetic: ClassVar[bool] = True

    @property
    def title(self) -> str:
        return f"synthetic sentences, made by rule (seed {self.seed})"

    def load(self) -> Mapping[str, Rows]:
        counts: list[tuple[Split, int]] = [
            ("train", self.train),
            ("validation", self.validation),
            ("test", self.test),
        ]
        return {
            split: replace(
                ArrowRows.of(generate(count, self.seed, split), f"synthetic {split}"),
                classes={"label": list(LABELS)},
            )
            for split, count in counts
        }
