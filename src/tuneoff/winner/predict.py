"""Predictions for new rows, with a saved model: classes, answers with their places, texts, losses.

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

from tuneoff.errors import DataError
from tuneoff.winner.loaded import load_winner
from tuneoff.winner.manifest import read_manifest
from tuneoff.winner.new_answers import new_answers
from tuneoff.winner.new_rows import Piece, read_pieces
from tuneoff.winner.predicted_rows import PredictedRows


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

    Writes what `new_answers` gives, after the columns named in `keep`, in the order of the rows: to
    `output` (format by its ending), or to `stream` (stdout) as `csv`, `tsv` or `jsonl`. backbone:
    another place where the backbone lies.

    Raises DataError for a file, column or text that cannot be read; BackboneError where the saved
    model or its backbone cannot be loaded.
    """
    if batch_size < 1:
        raise DataError(f"batch_size: at least 1; got {batch_size}")
    writer = PredictedRows(output, stream or sys.stdout, stream_format)
    manifest = read_manifest(folder)
    pieces = read_pieces(input, manifest.data, keep, manifest.make_task().may_be_empty)
    first = next(pieces, None)  # a fault of the file shows before anything large is loaded
    if first is None:
        raise DataError(f"{input}: there are no rows")
    loaded = load_winner(folder, device, backbone)
    begun, rows = time.perf_counter(), 0
    with writer:
        for piece in chain([first], pieces):
            writer.write(_kept(piece, new_answers(loaded, piece, batch_size)))
            rows += piece.count
    return Predicted(rows, output, time.perf_counter() - begun)


def _kept(piece: Piece, columns: dict[str, Sequence[object]]) -> dict[str, Sequence[object]]:
    """The input's columns that are kept, and those of the answers."""
    if clash := [name for name in piece.kept if name in columns]:
        raise DataError(f"the column {clash[0]!r} cannot be kept: predictions have that name too")
    return {**piece.kept, **columns}
