"""Measures what every method setting costs: one after another, each in a fresh worker with nothing
beside it, once per machine (the lines of `profiles.jsonl` are found again by their content)."""

from __future__ import annotations

import time
from typing import Any

from tuneoff.ledger import Ledger
from tuneoff.planning.plan import Plan
from tuneoff.running.cohort_job import versions
from tuneoff.running.pool import Died, Pool
from tuneoff.running.profile_job import ProfileOrder
from tuneoff.running.profiles import profile_id, profile_record
from tuneoff.running.progress import Progress, Underway
from tuneoff.running.single_job import attempt
from tuneoff.running.study_parts import parts_of
from tuneoff.running.worker import Done, job
from tuneoff.runs import Contest, RunSpec
from tuneoff.training.outcome import Limits

_BUSY = 1.5  # the clock's time over the core's, from which people should know
_PROFILE = "tuneoff.running.profile_job:profile"


def measure_all(
    pool: Pool, plan: Plan, ledger: Ledger, progress: Progress
) -> dict[Contest, dict[str, Any]]:
    """The profile of every contest that has one or has runs to do."""
    known = {record["run_id"]: record for record in ledger.profiles()}
    names = {spec.contest: (profile_id(spec, plan.machine.name), spec) for spec in plan.runs("run")}
    found = {contest: known[name] for contest, (name, _) in names.items() if name in known}
    todo = {
        spec.contest: names[spec.contest][1]
        for spec in plan.runs("run")
        if spec.contest not in found
        and spec.run_id not in plan.finished
        and not plan.predictions[spec.run_id].reason
    }
    if todo:
        progress.phase("profiles")
    started = time.monotonic()
    for number, (contest, spec) in enumerate(todo.items()):
        spent = time.monotonic() - started
        left = spent / number * (len(todo) - number) + plan.seconds if number else None
        label = " / ".join(contest)
        progress.update(number, len(todo), left, {0: Underway(label)})
        record, reason = _measure(pool, plan, spec)
        if reason is not None:
            progress.note(f"{label}: its cost was not measured: {reason}")
        elif record["cost"]["busy"] > _BUSY:
            progress.note(
                f"{label}: other programs ran while its cost was measured; its seconds are of the "
                f"one core that it had, and may still be too high"
            )
        ledger.append_profile(record)
        found[contest] = record
    return found


def _measure(pool: Pool, plan: Plan, spec: RunSpec) -> tuple[dict[str, Any], str | None]:
    """In 4 bits where the backbone is; what keeping dequantized weights does is measured apart."""
    expected = plan.predictions[spec.run_id]
    batches = expected.batches
    limits = Limits(
        micro_batch_tokens=batches.training,
        evaluation_tokens=batches.evaluation,
        generation_tokens=batches.generation,
    )
    cost, reason = _fresh(pool, ProfileOrder(spec, limits, 0.0))
    kept = expected.dequantized_gb
    if cost is not None and kept:
        cost["with_dequantized_cache"], _ = _fresh(pool, ProfileOrder(spec, limits, kept))
    record = profile_record(spec, plan.machine.name, cost, reason, versions())
    record["predicted"] = {
        "peak_memory_bytes": expected.memory.profiled,
        "train_seconds": expected.duration.training + expected.duration.prefix,
    }
    return record, reason


def _fresh(pool: Pool, order: ProfileOrder) -> tuple[dict[str, Any] | None, str | None]:
    pool.stop()
    end = attempt(pool, job(_PROFILE, order, parts=parts_of([order.spec])))
    pool.stop()
    if isinstance(end, Done):
        return end.value, None
    return None, f"the worker died ({end.cause})" if isinstance(end, Died) else end.reason
