"""Per-example predictions of a run, as one Parquet file that is written whole or not at all.

Columns, all of length n: split (`validation` | `test` | `shift:NAME`), row (index in the split),
loss (nats, the mean over the row's labelled tokens) and tokens (how many those are). Tasks with
classes have label and prediction (class indices) and probabilities (n, classes); tasks that answer
in text have text and references (texts), null where a split was not answered; `statistics` (n, s)
are those of the metric that methods are compared by, where it reads texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuneoff.errors import LedgerError
from tuneoff.whole_file import whole

_NUMBERS = {
    "row": pa.int64(),
    "label": pa.int64(),
    "prediction": pa.int64(),
    "loss": pa.float64(),
    "tokens": pa.int64(),
}
_PLAIN = {
    "split": pa.string(),
    **_NUMBERS,
    "text": pa.string(),
    "references": pa.list_(pa.string()),
}
_TABLES = {"probabilities": np.float32, "statistics": np.float64}


def write_predictions(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes predictions whole or not at all.

    Raises LedgerError for a missing column or columns of unequal length.
    """
    columns = {name: column for name, column in columns.items() if column is not None}
    if missing := [name for name in ("split", "row", "loss") if name not in columns]:
        raise LedgerError(f"{path}: predictions lack the column {', '.join(missing)}")
    lengths = {name: len(columns[name]) for name in columns}
    if len(set(lengths.values())) != 1:
        raise LedgerError(f"{path}: the columns of predictions have unequal lengths: {lengths}")
    arrays = {
        name: pa.array(np.asarray(columns[name]) if name in _NUMBERS else columns[name], kind)
        for name, kind in _PLAIN.items()
        if name in columns
    }
    for name, kind in _TABLES.items():
        if name in columns:
            table_NC = np.ascontiguousarray(columns[name], dtype=kind)
            offsets = np.arange(len(table_NC) + 1, dtype=np.int32) * table_NC.shape[1]
            arrays[name] = pa.ListArray.from_arrays(offsets, table_NC.reshape(-1))
    with whole(path) as temporary:
        pq.write_table(pa.table(arrays), temporary, compression="zstd")


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """The columns as numpy: split str, whole numbers int64, loss float64, probabilities float32,
    text and references objects.

    Raises LedgerError when the file is missing or damaged.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise LedgerError(
            f"{path}: the predictions of this run are missing; run the study again, "
            "which repeats this run alone"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise LedgerError(
            f"{path}: cannot be read as Parquet ({error}); delete it and run the study again"
        ) from error
    return {name: _column(table.column(name)) for name in table.column_names}


def _column(column: Any) -> np.ndarray:
    """A column of Arrow as numpy: lists of numbers, of one length, become a table."""
    array = column.combine_chunks()
    if pa.types.is_list(array.type) and not pa.types.is_string(array.type.value_type):
        flat = array.flatten().to_numpy(zero_copy_only=False)
        table: np.ndarray = flat.reshape(len(array), -1) if len(array) else flat.reshape(0, 0)
        return table
    if pa.types.is_string(array.type) and not array.null_count:
        return np.array(array.to_pylist(), dtype=str)
    if pa.types.is_string(array.type) or pa.types.is_list(array.type):
        values = np.empty(len(array), object)
        values[:] = array.to_pylist()
        return values
    numbers: np.ndarray = array.to_numpy(zero_copy_only=False)
    return numbers
