"""TSV files: CSV with tabs.

data: {dataset: tsv, train: reviews.tsv, quotes: false}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from pydantic import field_validator

from tuneoff.datasets._delimited import read_delimited
from tuneoff.datasets._faults import Faults
from tuneoff.datasets._files import FileDataset
from tuneoff.datasets._text_files import known_encoding


class Tsv(FileDataset):
    """Tab-separated values; values stay the text that the file holds."""

    quotes: bool = True
    """Whether a field may stand in double quotes; false takes quotes as plain characters, as in
    GLUE's files."""
    encoding: str = "utf-8"
    """How characters are stored; a byte order mark is no part of the text."""
    header: list[str] | None = None
    """The columns' names, for files whose first line is a row already."""

    format: ClassVar[str] = "TSV"

    _encoding = field_validator("encoding")(lambda name: known_encoding(name) and name)

    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
        return read_delimited(
            path,
            faults,
            delimiter="\t",
            quotes=self.quotes,
            encoding=self.encoding,
            header=self.header,
        )
