"""Predictions for new rows, with a saved model.

    predict(Path("runs/quickstart/winner"), Path("new.csv"), Path("predicted.csv"))

Rows are read, scored and written some at a time, so that a file may be larger than memory. A row's
prediction does not depend on the rows beside it, nor on the batch size, but for rounding.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from tuneoff.errors import DataError
from tuneoff.winner.loaded import Loaded, load_winner
from tuneoff.winner.manifest import read_manifest
from tuneoff.winner.new_rows import Piece, read_pieces
from tuneoff.winner.predicted_rows import PredictedRows

DIGITS = 6
"""Decimals of a written probability: what rounding in float32 leaves certain."""


class Predicted(NamedTuple):
    """What was done. seconds: reading, scoring and writing, without loading the model."""

    rows: int
    output: Path | None
    seconds: float


def predict(
    folder: Path,
    input: Path,
    output: Path | None = None,
    *,
    batch_size: int = 32,
    device: str = "auto",
    backbone: str | None = None,
    keep: Sequence[str] = (),
    stream: TextIO | None = None,
    stream_format: str = "csv",
) -> Predicted:
    """Predicts every row of a CSV, TSV, JSON, JSONL or Parquet file.

    Writes the columns `prediction` and `probability_<class>`, after those named in `keep`, in the
    order of the rows: to `output` (format by its ending), or to `stream` (stdout) as `csv`, `tsv`
    or `jsonl`. backbone: another place where the backbone lies.

    Raises DataError for a file, column or text that cannot be read; BackboneError where the saved
    model or its backbone cannot be loaded.
    """
    if batch_size < 1:
        raise DataError(f"batch_size: at least 1; got {batch_size}")
    writer = PredictedRows(output, stream or sys.stdout, stream_format)
    pieces = read_pieces(input, read_manifest(folder).data, keep)
    first = next(pieces, None)  # a fault of the file shows before anything large is loaded
    if first is None:
        raise DataError(f"{input}: there are no rows")
    loaded = load_winner(folder, device, backbone)
    begun, rows = time.perf_counter(), 0
    with writer:
        for piece in chain([first], pieces):
            writer.write(_columns(loaded, piece, batch_size))
            rows += piece.count
    return Predicted(rows, output, time.perf_counter() - begun)


def _columns(loaded: Loaded, piece: Piece, batch_size: int) -> dict[str, Sequence[object]]:
    probabilities_NC = loaded.probabilities(piece.texts, batch_size)
    classes = loaded.manifest.classes
    chosen = loaded.task.predictions(probabilities_NC)
    columns: dict[str, Sequence[object]] = {"prediction": [classes[index] for index in chosen]}
    for index, name in enumerate(classes):
        columns[f"probability_{name}"] = np.round(probabilities_NC[:, index], DIGITS).tolist()
    if clash := [name for name in piece.kept if name in columns]:
        raise DataError(f"the column {clash[0]!r} cannot be kept: predictions have that name too")
    return {**piece.kept, **columns}
