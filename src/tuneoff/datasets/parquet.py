"""Parquet files.

data: {dataset: parquet, train: "reviews-*.parquet"}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from tuneoff.datasets._faults import Faults
from tuneoff.datasets._files import FileDataset
from tuneoff.datasets.arrow_rows import BATCH_ROWS
from tuneoff.errors import DataError


class Parquet(FileDataset):
    """Parquet; class names that the `datasets` library or pandas wrote into it are used."""

    format: ClassVar[str] = "Parquet"

    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:  # noqa: ARG002
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    yield _plain(batch)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{path} is no whole Parquet file ({error}); write or copy it again"
            ) from None


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionary columns (pandas categories) as their values."""
    fields, arrays = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_dictionary(field.type):
            column = column.dictionary_decode()
        fields.append(pa.field(field.name, column.type))
        arrays.append(column)
    return pa.RecordBatch.from_arrays(
        arrays, schema=pa.schema(fields, metadata=batch.schema.metadata)
    )
