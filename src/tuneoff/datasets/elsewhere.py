"""Data that a study names and nobody may fetch for you: it is not on the hub.

    data: {dataset: elsewhere, what: CFIMDB, where: the course's starter code}

A recipe of a published study holds it in the place of such data, so that the recipe can be read and
checked as a whole; `--data NAME=FOLDER` puts your copy in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from tuneoff.datasets import Dataset, Rows
from tuneoff.errors import DataError


class Elsewhere(Dataset):
    """Data that you must bring yourself, with `--data NAME=FOLDER`."""

    what: str
    """What people call it."""
    where: str
    """Where it can be had."""

    @property
    def title(self) -> str:
        return self.what

    def load(self) -> Mapping[str, Rows]:
        self._refuse()

    def fingerprint(self) -> str:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(
            f"{self.what} is not on the hub, and must be brought: {self.where}. Give its folder "
            "with `--data NAME=FOLDER`, where NAME is the task's name in the study"
        )
