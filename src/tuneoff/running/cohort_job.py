"""The job of a worker: one cohort, from its checkpoint if there is one, to lines for the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneoff.running.materials import data_record, loaded, material_for
from tuneoff.running.worker import Say
from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.training.outcome import Limits, Outcome, Progress

_SIGN_SECONDS = 0.2


@dataclass(frozen=True)
class CohortOrder:
    """What to train and where to keep it. folder: the study's; checkpoint: relative to it; until:
    the step of the rung at which probes stop; states: of each probe at a rung, relative too."""

    specs: tuple[RunSpec, ...]
    folder: Path
    checkpoint: str
    limits: Limits
    dequantized_gb: float | None = None
    until: int | None = None
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A run's line for the ledger, without what the parent knows (cost, cohort, retries), and its
    predictions."""

    record: dict[str, Any]
    predictions: dict[str, Any] | None


def train(order: CohortOrder, say: Say) -> list[Result]:
    """Trains a cohort; trained tensors lie on the disk before this returns."""
    from tuneoff.training.loop import train_cohort
    from tuneoff.training.outcome import Stage

    started = now()
    first = order.specs[0]
    held = loaded(first, order.dequantized_gb)
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= _SIGN_SECONDS:
            said = time.monotonic()
            say(progress)

    checkpoint = order.folder / order.checkpoint
    stage = Stage(order.until, [order.folder / state for state in order.states])
    outcomes = train_cohort(
        order.specs, material_for(first, held), checkpoint, order.limits, report, stage
    )
    results = []
    for outcome in outcomes:
        size = _keep_tensors(order.folder, outcome)
        record = record_of(outcome.spec, outcome.status, outcome.reason, started)
        record |= {
            "classes": list(held.material.classes),
            "metrics": outcome.metrics,
            "metric_details": outcome.metric_details,
            "interpolation": outcome.interpolation,
            "history": outcome.history,
            "best_step": outcome.best_step,
            "steps": outcome.steps,
            "tokens": outcome.tokens,
            "cost": {
                "trainable_parameters": outcome.trainable_parameters,
                "total_parameters": held.material.backbone.total_parameters,
                "adapter_bytes": size,
            },
            "in_cohort": {
                "train_seconds": outcome.train_seconds,
                "evaluation_seconds": outcome.evaluation_seconds,
            },
            "notes": outcome.notes,
            "data": data_record(held.prepared.report, held.prepared.fingerprint),
        }
        if outcome.rungs:
            record["rungs"] = outcome.rungs
        results.append(Result(record, outcome.predictions))
    return results


def record_of(spec: RunSpec, status: str, reason: str | None, started: str) -> dict[str, Any]:
    """A line of `results.jsonl` for a run, as far as the run is known from its spec."""
    return {
        "run_id": spec.run_id,
        "status": status,
        "reason": reason,
        "kind": spec.kind,
        "study": spec.study,
        "backbone": spec.backbone.name,
        "task": spec.task.name,
        "method": spec.method.name,
        "settings": spec.settings(),
        "seed": spec.seed,
        "learning_rate": spec.learning_rate,
        "rate_from": spec.rate_from,
        "device": spec.device,
        "classes": [],
        "primary_metric": spec.task.primary_metric,
        "metrics": {},
        "metric_details": {},
        "interpolation": [],
        "history": [],
        "best_step": None,
        "steps": 0,
        "notes": [],
        "data": {},
        "fingerprints": {"data": spec.data_fingerprint, "backbone": spec.backbone_fingerprint},
        "versions": versions(),
        "code": spec.code,
        "started_at": started,
        "finished_at": now(),
    }


def versions() -> dict[str, str]:
    """What numbers may depend on; read from the installed packages, nothing is imported."""
    import importlib.metadata
    import platform

    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in ("tuneoff", "torch", "transformers", "tokenizers", "peft", "bitsandbytes", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def now() -> str:
    """The time as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _keep_tensors(folder: Path, outcome: Outcome) -> int | None:
    """Bytes of the saved tensors; probes, and runs that did not finish, keep none."""
    if outcome.spec.kind != "run" or not outcome.tensors:
        return None
    from tuneoff.winner.tensors import save_tensors

    return save_tensors(folder, outcome.spec.run_id, outcome.tensors)
