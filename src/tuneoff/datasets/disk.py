"""Datasets that were saved with `datasets`' `save_to_disk`.

data: {dataset: disk, path: my_dataset, test: validation}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuneoff.datasets import Dataset, Rows
from tuneoff.datasets._library import chosen_splits, library_rows
from tuneoff.errors import DataError


class Disk(Dataset):
    """A saved `DatasetDict`, or one saved `Dataset` (all of it train)."""

    path: Path
    """The folder; a relative one starts at the study file."""
    train: str = "train"
    """The saved split to learn from."""
    validation: str | None = None
    """The saved split to choose by; `validation` or `dev` if there is one, else made from train."""
    test: str | None = None
    """The saved split to judge by; `test` if there is one, else made from train."""

    @property
    def title(self) -> str:
        return self.path.name

    def load(self) -> Mapping[str, Rows]:
        import datasets

        folder = self.path.expanduser()
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}; `path` is what `save_to_disk` wrote")
        try:
            saved = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{folder} is no whole dataset as `save_to_disk` writes it ({error}); save it "
                "again, or name its files with `dataset: parquet`, `csv` or `json`"
            ) from None
        if isinstance(saved, datasets.Dataset):
            saved = {"train": saved}
        wanted = {"train": self.train, "validation": self.validation, "test": self.test}
        chosen = chosen_splits(list(saved), wanted, str(folder))
        return {
            split: library_rows(saved[name], f"{folder.name} {name}")
            for split, name in chosen.items()
        }
