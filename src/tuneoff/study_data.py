"""What a study says of data: where rows come from, and further test sets of other rows."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from tuneoff.datasets import Dataset, Rows
from tuneoff.identity import digest
from tuneoff.settings import Settings
from tuneoff.study_parts import faults, known_part, part_settings
from tuneoff.study_settings import Limit, Split

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class _Source(Settings):
    """A dataset part with its settings."""

    dataset: str
    """The kind of source: a dataset part (`csv`, `json`, `hub`, ...)."""
    source: SerializeAsAny[Dataset]
    """The dataset part's own settings; in YAML they stand beside `dataset`."""

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        return known_part("datasets", name)

    @field_validator("source", mode="plain")
    @classmethod
    def _read_source(cls, value: Any, info: ValidationInfo) -> Any:
        return part_settings("datasets", "dataset", value, info)


class ShiftSpec(_Source):
    """A further test set, whose rows are of another kind than those that were learned from."""

    dataset: str
    """The kind of source; the data's own when not given."""
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """As the data's `columns`, which hold when none are given."""

    def rows(self) -> Rows:
        """The source's test split; all of train where it has no other. Raises DataError."""
        loaded = self.source.load()
        return (loaded["test"] if "test" in loaded else loaded["train"]).renamed(self.columns)


class DataSpec(_Source):
    """Where rows come from, and what is done to them before the task sees them."""

    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """What the task calls a column -> what the data calls it, e.g. `{text: review}`; several
    columns (`{text: [title, content]}`) are joined by a space."""
    split: Split = Split()
    """How validation and test are made where the data does not bring them."""
    limit: Limit = Limit()
    """The most rows of each split."""

    shift: dict[str, ShiftSpec] = Field(default_factory=dict)
    """Further test sets by name, of another kind of rows (another source, time or topic): a file or
    split as `test` takes it, or settings that differ from these. Runs are measured on them at the
    end, as on test, and learn nothing from them."""

    @field_validator("shift")
    @classmethod
    def _named(cls, shift: dict[str, ShiftSpec]) -> dict[str, ShiftSpec]:
        odd = [name for name in shift if len(name) > 64 or not _NAME.fullmatch(name)]
        if odd:
            why = "is no name; letters, digits and . _ + - may stand in it, 64 at most"
            raise faults({(name,): f"{name!r} {why}" for name in odd})
        return shift

    def fingerprint(self) -> str:
        """Hash of the content of the rows, wherever they lie. Raises DataError."""
        own = self.source.fingerprint()
        if not self.shift:
            return own
        return digest([own, {name: one.source.fingerprint() for name, one in self.shift.items()}])
