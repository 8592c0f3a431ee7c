"""The round trip: what was saved, loaded in a fresh process, must predict what the run recorded.

    check.json    what was compared, on how many rows, and the largest differences

What of it passes is judged in `judgement.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuneoff.datasets import Rows
from tuneoff.errors import DataError, TuneoffError
from tuneoff.metrics import Predicted
from tuneoff.whole_file import write_whole
from tuneoff.winner.answer_table import read_answers
from tuneoff.winner.fresh import Job

if TYPE_CHECKING:
    from tuneoff.tasks import Task

FILE = "check.json"
ROWS, LONG_ROWS = 2000, 400
"""Most rows that are compared: of test first, with a quarter left for validation; the second of
tasks without a label, whose rows are long."""
LIBRARY_ROWS, BARE_ROWS = 256, 64
WRITTEN_ROWS, LIBRARY_WRITTEN = 100, 16
"""Rows of test whose texts are written again: by tuneoff, and by transformers' `generate`."""


class CheckError(TuneoffError):
    """A saved model that does not predict what its run did."""

    exit_code = 6


@dataclass(frozen=True)
class Recorded:
    """What the ledger says of the compared rows, and the rows themselves.

    answers: split -> what the run answered, in the rows' order; rows: split -> columns of the task,
    answers included; cut: splits of which these are the first rows alone.
    """

    answers: Mapping[str, Predicted]
    rows: Mapping[str, Mapping[str, list[Any]]]
    cut: tuple[str, ...]


def recorded_rows(
    predictions: Mapping[str, np.ndarray],
    rows: Mapping[str, Rows],
    texts: list[str],
    task: Task,
    classes: list[str],
) -> Recorded:
    """The rows to compare on: the ledger's columns, and the texts from the data.

    Of a task with a label, rows from all over a split; of others the first, since what stands in
    front of an example may decide what it is (blocks of text), or how it is drawn.
    Raises DataError when the data are not those that the run saw.
    """
    answers, given, cut = {}, {}, []
    most = ROWS if task.label else LONG_ROWS
    there = {split: np.flatnonzero(predictions["split"] == split) for split in rows}
    tested = min(most * 3 // 4, len(there.get("test", ())))
    for split, limit in (("test", tested), ("validation", most - tested)):
        if split not in rows or not len(there[split]):
            continue
        if task.label:
            part = _spread(there[split], limit)
            numbers = predictions["row"][part]
            if int(numbers.max()) >= len(rows[split]):
                raise DataError(_changed(split, f"row {int(numbers.max())} is gone"))
            here = rows[split].select(np.sort(numbers))
            _same_labels(here, predictions["label"][part], task.label, classes, split)
        else:
            part, count = there[split], min(limit, len(rows[split]))
            here = rows[split].select(np.arange(count))
            cut += [split] if count < len(rows[split]) else []
        answers[split] = _answers(predictions, part, classes)
        wanted = [*texts, *task.answer_columns(here.column_names)]
        given[split] = {name: here.column(name) for name in wanted}
    return Recorded(answers, given, tuple(cut))


def _answers(
    predictions: Mapping[str, np.ndarray], part: np.ndarray, classes: list[str]
) -> Predicted:
    """Columns of the ledger as answers; a split that was not answered in text has no texts."""
    columns = {name: column[part] for name, column in predictions.items()}
    texts = columns.get("text", np.array([None]))
    written = all(text is not None for text in texts)
    shares = columns.get("probabilities")
    return Predicted(
        losses=columns["loss"],
        tokens=columns.get("tokens", np.zeros(0, np.int64)),
        labels=columns.get("label"),
        predictions=columns.get("prediction"),
        classes=classes,
        texts=[str(text) for text in texts] if written else None,
        probabilities=None if shares is None else shares.astype(np.float64),
    )


def _spread(places: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the places, evenly over all of them; ascending."""
    if len(places) <= most:
        return places
    found: np.ndarray = places[np.linspace(0, len(places) - 1, most).astype(int)]
    return found


def _same_labels(
    rows: Rows, labels: np.ndarray, column: str, classes: list[str], split: str
) -> None:
    from tuneoff.data.classes import class_name

    found = [class_name(value) for value in rows.column(column)]
    if found != [classes[index] for index in labels]:
        raise DataError(_changed(split, "labels differ"))


def _changed(split: str, what: str) -> str:
    return (
        f"the {split} rows are not those that the run saw ({what}): the data changed since. Put "
        "the old data back, or run the study again"
    )


def in_fresh_process(
    folder: Path, tensors: Path, recorded: Recorded, device: str, *, merged: bool, quantized: str
) -> tuple[dict[str, Predicted], dict[str, Any]]:
    """The answers (`<look>.<split>`) and facts that a new Python process has of the saved files.

    Raises CheckError with what the process said when it fails.
    """
    classes = next(iter(recorded.answers.values())).classes
    with tempfile.TemporaryDirectory(prefix="tuneoff-check-") as place:
        rows = {split: Path(place) / f"{split}.parquet" for split in recorded.rows}
        for split, columns in recorded.rows.items():
            pq.write_table(pa.table(dict(columns)), rows[split])
        job = Job(
            folder=folder.absolute(), rows=rows, cut=recorded.cut, tensors=tensors.absolute(),
            answers=Path(place) / "answers", device=device, batch_size=32,
            library_rows=LIBRARY_ROWS, bare_rows=BARE_ROWS, written_rows=WRITTEN_ROWS,
            library_written=LIBRARY_WRITTEN, merged=merged,
            requantized=quantized if merged and quantized != "none" else None,
        )  # fmt: skip
        request = Path(place) / "job.json"
        request.write_text(job.model_dump_json(), "utf-8")
        _run(request)
        found = {
            file.stem: read_answers(file, list(classes)) for file in job.answers.glob("*.parquet")
        }
        return found, json.loads((job.answers / "facts.json").read_text("utf-8"))


def _run(request: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuneoff.winner.fresh", str(request)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = "\n  ".join(done.stderr.strip().splitlines()[-12:])
        raise CheckError(
            f"cannot be loaded in a fresh process (exit status {done.returncode}):\n  {said}"
        )


def write_check(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes check.json."""
    write_whole(folder / FILE, json.dumps(content, indent=2) + "\n")
