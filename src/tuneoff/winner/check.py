"""The round trip: what was saved, loaded in a fresh process, must predict what the run recorded.

    check.json    what was compared, on how many rows, and the largest differences

A prediction counts as differing when the classes differ and the recorded run was surer of its own
class than rounding can explain; a tie within rounding is counted apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tuneoff.datasets import Rows
from tuneoff.errors import DataError, TuneoffError
from tuneoff.metrics import Predicted, evaluate
from tuneoff.report.whole_file import write_whole
from tuneoff.winner.fresh import Job
from tuneoff.winner.manifest import Manifest

FILE = "check.json"
ROWS = 2000
"""Most rows that are compared: of test first, with a quarter left for validation."""
LIBRARY_ROWS, BARE_ROWS = 256, 64
TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Most that a probability may differ by, by the precision of the arithmetic: rounding differs with
the batch, and `bf16` keeps 8 bits."""
_COARSE = 5e-2  # 8-bit products depend on the batch; libraries' 4-bit kernels may round to bf16


class CheckError(TuneoffError):
    """A saved model that does not predict what its run did."""

    exit_code = 6


@dataclass(frozen=True)
class Recorded:
    """What the ledger says of the compared rows, (n,) each; probabilities: (n, C). texts: the
    task's columns."""

    split: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    probabilities: np.ndarray
    texts: dict[str, list[str]]

    @property
    def test(self) -> np.ndarray:
        """(n,) which rows are of the test split."""
        return np.asarray(self.split == "test")


def recorded_rows(
    predictions: Mapping[str, np.ndarray],
    rows: Mapping[str, Rows],
    texts: list[str],
    label: str | None,
    classes: list[str],
) -> Recorded:
    """The rows to compare on: the ledger's columns, and the texts from the data.

    Raises DataError when the data are not those that the run saw.
    """
    places = {split: np.flatnonzero(predictions["split"] == split) for split in rows}
    test = _spread(places.get("test", np.empty(0, int)), ROWS * 3 // 4)
    validation = _spread(places.get("validation", np.empty(0, int)), ROWS - len(test))
    chosen = np.concatenate([test, validation])
    columns: dict[str, list[str]] = {name: [] for name in texts}
    for split, part in (("test", test), ("validation", validation)):
        if not len(part):
            continue
        numbers = predictions["row"][part]
        if int(numbers.max()) >= len(rows[split]):
            raise DataError(_changed(split, f"row {int(numbers.max())} is gone"))
        here = rows[split].select(np.sort(numbers))
        _same_labels(here, predictions["label"][part], label, classes, split)
        for name in texts:
            columns[name] += [str(value) for value in here.column(name)]
    return Recorded(
        predictions["split"][chosen],
        predictions["label"][chosen],
        predictions["prediction"][chosen],
        predictions["probabilities"][chosen].astype(np.float64),
        columns,
    )


def _spread(places: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the places, evenly over all of them; ascending."""
    if len(places) <= most:
        return places
    found: np.ndarray = places[np.linspace(0, len(places) - 1, most).astype(int)]
    return found


def _same_labels(
    rows: Rows, labels: np.ndarray, column: str | None, classes: list[str], split: str
) -> None:
    if column is None:
        return
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
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The probabilities and facts that a new Python process computes from the saved files.

    Raises CheckError with what the process said when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="tuneoff-check-") as place:
        rows, answers = Path(place) / "rows.parquet", Path(place) / "answers"
        pq.write_table(pa.table(recorded.texts), rows)
        job = Job(
            folder=folder.absolute(), rows=rows, tensors=tensors.absolute(), answers=answers,
            device=device, batch_size=32, library_rows=LIBRARY_ROWS, bare_rows=BARE_ROWS,
            merged=merged, requantized=quantized if merged and quantized != "none" else None,
        )  # fmt: skip
        request = Path(place) / "job.json"
        request.write_text(job.model_dump_json(), "utf-8")
        _run(request)
        with np.load(answers.with_suffix(".npz")) as found:
            probabilities = {name: found[name] for name in found.files}
        return probabilities, json.loads(answers.with_suffix(".json").read_text("utf-8"))


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


def judge(
    manifest: Manifest,
    recorded: Recorded,
    answers: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    metric: str,
    not_merged: str | None = None,
) -> dict[str, Any]:
    """The content of check.json; `failures` names what does not hold."""
    quantization = manifest.backbone.options["quantization"]
    dtype = {"bfloat16": "bf16", "float16": "fp16"}.get(
        manifest.backbone.options["dtype"], manifest.precision
    )
    tolerance = max(TOLERANCES[dtype], _COARSE if quantization == "int8" else 0.0)
    rough = max(tolerance, _COARSE if quantization != "none" else 0.0)
    failures: list[str] = []
    content: dict[str, Any] = {
        "passed": False,
        "failures": failures,
        "rows": {"test": int(recorded.test.sum()), "validation": int((~recorded.test).sum())},
        "tolerance": tolerance,
        "reloaded": _compared(recorded, answers["reloaded"], tolerance, "tuneoff", failures),
        "head": facts["head"],
        "process": {key: value for key, value in facts.items() if key != "head"},
    }
    if not facts["head"]["saved"]:
        failures.append("the saved head is not the one that was trained")
    if "library" in answers:
        name = "PeftModel.from_pretrained" if manifest.form == "peft" else (
            "AutoModelForSequenceClassification.from_pretrained")  # fmt: skip
        rows = answers["library_index"]
        content["library"] = _compared(recorded, answers["library"], rough, name, failures, rows)
    if "bare" in answers:
        bare = answers["bare"]
        changed = float(np.abs(bare - answers["reloaded"][: len(bare)]).max())
        content["without_adapter"] = {"rows": len(bare), "max_probability_difference": changed}
        if changed == 0.0:
            failures.append("predictions are the same without the adapter: it does nothing")
    content["merged"] = {"skipped": not_merged} if not_merged else (
        _merged(manifest, recorded, answers, metric, tolerance, failures))  # fmt: skip
    content["passed"] = not failures
    return content


def _compared(
    recorded: Recorded,
    found: np.ndarray,
    tolerance: float,
    loader: str,
    failures: list[str],
    rows: np.ndarray | None = None,
) -> dict[str, Any]:
    """How probabilities differ from the recorded ones. found: (n, C) of all rows, or of `rows`."""
    rows = np.arange(len(found)) if rows is None else rows
    n, old, predicted = len(rows), recorded.probabilities[rows], recorded.prediction[rows]
    difference = float(np.abs(found - old).max(initial=0.0))
    other = np.flatnonzero(found.argmax(-1) != predicted)
    margin = old[other, predicted[other]] - old[other, found[other].argmax(-1)]
    ties = int((margin <= 2 * tolerance).sum())
    differ = len(other) - ties
    if differ:
        failures.append(f"{loader}: {differ} of {n} predictions differ from the recorded ones")
    if not difference <= tolerance:  # NaN too
        failures.append(
            f"{loader}: probabilities differ by up to {difference:.2g}; rounding explains "
            f"{tolerance:.2g}"
        )
    return {
        "with": loader,
        "rows": n,
        "predictions_differ": differ,
        "ties_within_rounding": ties,
        "max_probability_difference": difference,
        "tolerance": tolerance,
    }


def _merged(
    manifest: Manifest,
    recorded: Recorded,
    answers: Mapping[str, np.ndarray],
    metric: str,
    tolerance: float,
    failures: list[str],
) -> dict[str, Any]:
    """The merged model against the unmerged one on the test rows."""
    quantization = manifest.backbone.options["quantization"]
    content = _rescored(manifest, recorded, answers, "merged", metric)
    plain = quantization == "none" and manifest.backbone.options["dtype"] == "float32"
    if plain and not content["max_probability_difference"] <= tolerance:
        failures.append(
            f"merged: probabilities differ by up to {content['max_probability_difference']:.2g} "
            f"from the unmerged model; rounding explains {tolerance:.2g}"
        )
    content["weights"] = (
        "float32" if quantization == "none" else f"float32, dequantized from {quantization}"
    )
    if "requantized" in answers:
        content["requantized"] = {
            "quantization": quantization,
            **_rescored(manifest, recorded, answers, "requantized", metric),
        }
    return content


def _rescored(
    manifest: Manifest,
    recorded: Recorded,
    answers: Mapping[str, np.ndarray],
    name: str,
    metric: str,
) -> dict[str, Any]:
    test = recorded.test if recorded.test.any() else ~recorded.test
    before, after = answers["reloaded"][test], answers[name][test]
    unmerged = _score(metric, recorded.label[test], before, manifest.classes)
    merged = _score(metric, recorded.label[test], after, manifest.classes)
    return {
        "rows": int(test.sum()),
        "metric": metric,
        "unmerged": unmerged,
        "value": merged,
        "difference": merged - unmerged,
        "predictions_differ": int((before.argmax(-1) != after.argmax(-1)).sum()),
        "max_probability_difference": float(np.abs(before - after).max()),
    }


def _score(metric: str, labels: np.ndarray, found: np.ndarray, classes: list[str]) -> float:
    """The metric from probabilities."""
    tiny = np.finfo(np.float64).tiny
    losses = -np.log(np.maximum(found[np.arange(len(labels)), labels], tiny))
    rows = Predicted(losses=losses, labels=labels, predictions=found.argmax(-1), classes=classes)
    return float(evaluate([metric], rows)[metric])


def write_check(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes check.json."""
    write_whole(folder / FILE, json.dumps(content, indent=2) + "\n")
