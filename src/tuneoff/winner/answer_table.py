"""Answers as a Parquet file, from the process that checks a saved model to the one that judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tuneoff.metrics import Predicted


def write_answers(path: Path, rows: Predicted) -> None:
    """Writes the columns that are there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "loss": rows.losses,
        "tokens": rows.tokens,
        "row": rows.rows,
        "label": rows.labels,
        "prediction": rows.predictions,
        "probabilities": None if rows.probabilities is None else rows.probabilities.tolist(),
        "text": rows.texts,
        "references": rows.references,
        "prompt": rows.prompts,
    }
    there = {name: column for name, column in columns.items() if column is not None}
    pq.write_table(pa.table(there), path)


def read_answers(path: Path, classes: list[str]) -> Predicted:
    """What `write_answers` wrote."""
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()

    def whole(name: str) -> np.ndarray | None:
        return np.array(table[name], np.int64) if name in table else None

    shares = table.get("probabilities")
    return Predicted(
        losses=np.array(table["loss"], np.float64),
        tokens=np.array(table["tokens"], np.int64),
        labels=whole("label"),
        predictions=whole("prediction"),
        classes=classes,
        texts=table.get("text"),
        references=table.get("references"),
        prompts=table.get("prompt"),
        rows=np.array(table["row"], np.int64),
        probabilities=None if shares is None else np.array(shares).reshape(-1, len(classes)),
    )
