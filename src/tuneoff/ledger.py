"""The results of a study on disk: one line per run, written whole or not at all.

    with Ledger("runs/quickstart") as ledger:      # reading needs no `with`
        ledger.append(record, predictions)         # takes the folder's lock until closed
    Ledger("runs/quickstart").records()            # any number of readers, at any time

The order of writing is what makes a run whole: the predictions first (temporary file, fsync,
rename), then its line of `results.jsonl` in a single append and fsync. A run that has no line did
not finish. Where a process was killed in the middle of a line, that line does not count; the next
writer cuts it off, and `notices` says so. The form of a line is in docs/architecture.md.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from tuneoff.errors import LedgerError
from tuneoff.folder_lock import FolderLock
from tuneoff.predictions import read_predictions, write_predictions
from tuneoff.whole_file import sync_folder

FORMAT = 1
"""Version of the form of a line; it stands in every line as `format`."""
STATUSES = ("done", "failed", "diverged", "out_of_memory", "over_budget", "skipped")

Record = dict[str, Any]
_log = logging.getLogger(__name__)


class Ledger:
    """The ledger of one folder. `notices` lists what was found torn and what was done about it."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        self.notices: list[str] = []
        self._lock = FolderLock(self.folder)

    def lock(self) -> Self:
        """Becomes the folder's only writer, and repairs what a killed writer left behind.

        Raises LedgerError, naming the process, when another one is writing.
        """
        if not self._lock.held:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            for name in ("results.jsonl", "probes.jsonl", "profiles.jsonl"):
                self._repair(self.folder / name)
            for leftover in (self.folder / "predictions").glob("*.tmp"):
                leftover.unlink()
        return self

    def close(self) -> None:
        """Lets other writers in."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self.lock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(
        self, record: Mapping[str, Any], predictions: Mapping[str, Any] | None = None
    ) -> None:
        """Adds a run that is whole. `predictions`: columns, see `tuneoff.predictions`.

        Raises LedgerError for a record that lacks its run_id, status, reason or predictions.
        """
        _check(record, predictions is not None)
        self.lock()
        if predictions is not None:
            write_predictions(self._predictions_path(record["run_id"]), predictions)
        self._append("results.jsonl", record)

    def append_probe(self, record: Mapping[str, Any]) -> None:
        """Adds one learning-rate probe."""
        self.lock()._append("probes.jsonl", record)

    def append_profile(self, record: Mapping[str, Any]) -> None:
        """Adds the cost of one method setting, measured solo."""
        self.lock()._append("profiles.jsonl", record)

    def records(self, kind: str | None = None) -> list[Record]:
        """Every run, in the order of the file; of a run that stands twice, the last one.

        `kind`: only records whose `kind` is this.
        """
        records = self._read("results.jsonl")
        return [record for record in records if kind is None or record.get("kind", "run") == kind]

    def record(self, run_id: str) -> Record:
        """One run. Raises LedgerError when it has no line."""
        for record in self.records():
            if record["run_id"] == run_id:
                return record
        raise LedgerError(f"{self.folder / 'results.jsonl'}: no run {run_id!r}")

    def probes(self) -> list[Record]:
        """Every probe."""
        return self._read("probes.jsonl")

    def profiles(self) -> list[Record]:
        """Every profile."""
        return self._read("profiles.jsonl")

    def finished_ids(self, statuses: Collection[str] = STATUSES) -> set[str]:
        """Run ids that need not run again: those with a line of one of these statuses.

        A `done` line whose predictions were removed does not count.
        """
        return {
            record["run_id"]
            for record in self.records()
            if record["status"] in statuses
            and (record["status"] != "done" or self._predictions_path(record["run_id"]).exists())
        }

    def predictions(self, run_id: str, split: str | None = None) -> dict[str, np.ndarray]:
        """Columns of one run's predictions, all of length n, of one split or of all.

        split: str; row, label, prediction: int64; loss: float64 in nats;
        probabilities: (n, classes) float32, absent where the task has none.
        Raises LedgerError when the file is missing or damaged.
        """
        columns = read_predictions(self._predictions_path(run_id))
        if split is not None:
            chosen = columns["split"] == split
            columns = {name: values[chosen] for name, values in columns.items()}
        return columns

    def _predictions_path(self, run_id: str) -> Path:
        if not re.fullmatch(r"[\w-]+", run_id):
            raise LedgerError(f"run_id {run_id!r}: allowed are letters, digits, _ and -")
        return self.folder / "predictions" / f"{run_id}.parquet"

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        """One line in one write; whatever hinders it leaves the file as it was."""
        path = self.folder / name
        line = encode({**record, "format": FORMAT})
        new = not path.exists()
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            size = os.fstat(file).st_size
            try:
                if os.write(file, line) != len(line):
                    raise OSError("the line was written in part")
                os.fsync(file)
            except OSError as error:
                os.ftruncate(file, size)
                raise LedgerError(f"{path}: cannot append ({error}); is the disk full?") from error
        finally:
            os.close(file)
        if new:
            sync_folder(self.folder)

    def _read(self, name: str) -> list[Record]:
        """Whole lines; a torn last one is left out, and noticed."""
        path = self.folder / name
        if not path.exists():
            return []
        content = path.read_bytes()
        whole = _whole_bytes(content)
        if len(content) > whole and not self._lock.held:
            self._notice(f"{path}: the last line is torn, and does not count")
        records: dict[str, Record] = {}
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            record = _decode(line, f"{path}:{number}")
            key = str(record.get("run_id", f"line {number}"))
            records.pop(key, None)
            records[key] = record
        return list(records.values())

    def _repair(self, path: Path) -> None:
        """Cuts a torn last line off; ends a whole one that lost only its line feed (an editor)."""
        if not path.exists():
            return
        content = path.read_bytes()
        whole = _whole_bytes(content)
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
            self._notice(
                f"{path}: the last line was torn ({len(content) - whole} bytes, a writer was "
                "killed); it was cut off, and that run counts as not finished"
            )
        elif content and not content.endswith(b"\n"):
            with path.open("ab") as file:
                file.write(b"\n")
                os.fsync(file.fileno())

    def _notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)
            _log.warning(text)


def stale(records: Iterable[Record], wanted_ids: Collection[str]) -> list[Record]:
    """Records that the study no longer asks for: other settings, data or code than now.

    A run's id is the hash of all three, so a record is current exactly when its id is wanted.
    """
    wanted = set(wanted_ids)
    return [record for record in records if record["run_id"] not in wanted]


def encode(record: Mapping[str, Any]) -> bytes:
    """A line of valid JSON with its line feed; floats come back as the same float64.

    NaN and infinities, which JSON does not have, become null; `not_finite` says where and which:
    `{"metrics.test.loss": "nan"}`.
    """
    not_finite: dict[str, str] = {}

    def plain(value: Any, path: str) -> Any:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        elif isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            not_finite[path] = repr(value)
            return None
        if isinstance(value, Mapping):
            prefix = f"{path}." if path else ""
            return {str(key): plain(item, f"{prefix}{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    content = plain(record, "")
    if not_finite:
        content["not_finite"] = not_finite
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False)
    except TypeError as error:
        raise LedgerError(f"a record holds what JSON cannot: {error}") from error
    # A line separator inside a text is legal JSON, but other readers take it for a line's end.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
    return (text + "\n").encode()


def _decode(line: bytes, place: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise LedgerError(
            f"{place}: not a line of JSON ({error}); a finished line is never changed by tuneoff, "
            "so restore the file or delete this line: the run that it stood for runs again"
        ) from None
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise LedgerError(
            f"{place}: results of format {found!r}, and this tuneoff reads format {FORMAT}; "
            "use the version of tuneoff that wrote it, or another folder (--out)"
        )
    assert isinstance(record, dict)
    return record


def _whole_bytes(content: bytes) -> int:
    """How many leading bytes are whole lines."""
    end = content.rfind(b"\n") + 1
    try:
        return len(content) if isinstance(json.loads(content[end:]), dict) else end
    except ValueError:
        return end


def _check(record: Mapping[str, Any], has_predictions: bool) -> None:
    run_id, status = record.get("run_id"), record.get("status")
    if not isinstance(run_id, str) or not run_id:
        raise LedgerError(f"a record needs a run_id, got {run_id!r}")
    if status not in STATUSES:
        raise LedgerError(f"run {run_id}: status is one of {', '.join(STATUSES)}; got {status!r}")
    if status == "done" and not has_predictions:
        raise LedgerError(f"run {run_id}: a run that is done comes with its predictions")
    if status != "done" and not record.get("reason"):
        raise LedgerError(f"run {run_id}: status {status!r} needs a reason")
