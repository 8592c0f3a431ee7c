"""Cohorts on workers: one after another on each, retried, recorded, none twice.

The order of writing makes a resume exact. The plan holds who trains with whom before anything
trains; a run's line is in the ledger before its cohort's checkpoint goes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneoff.ledger import Ledger
from tuneoff.planning.cohorts import Cohort
from tuneoff.planning.plan import Plan
from tuneoff.running.cohort_job import CohortOrder, Result, now, record_of
from tuneoff.running.materials import data_record, material_key
from tuneoff.running.pool import Died, Pool, Worker
from tuneoff.running.progress import Progress, Underway
from tuneoff.running.retries import GiveUp, after
from tuneoff.running.study_parts import parts_of
from tuneoff.running.worker import Done, Failure, Sign, job
from tuneoff.runs import RunSpec
from tuneoff.training.outcome import Limits

_TICK_SECONDS = 0.25
_OVER = "the study's time (budget.minutes) was over; a later start goes on with it"
Cost = Callable[[RunSpec, Mapping[str, Any]], dict[str, Any]]
"""The `cost` of a run from its record, see `profiles.py`."""


@dataclass
class CohortQueue:
    """Trains cohorts to their end. `save` writes the plan with the cohorts that it is given."""

    plan: Plan
    ledger: Ledger
    pool: Pool
    progress: Progress
    cost: Cost
    save: Callable[[Sequence[Cohort]], None]
    deadline: float | None = None
    run_seconds: float | None = None
    checkpoint_seconds: float = 30.0
    notes: list[str] = field(default_factory=list)
    later_seconds: float = 0.0
    """Predicted time of what comes after this queue."""

    def __post_init__(self) -> None:
        self._pending: list[Cohort] = []
        self._stamps: dict[str, int] = {}
        self._underway: dict[int, Underway] = {}
        self._recorded: set[str] = set(self.plan.settled)
        self._rungs = {row["run_id"]: row.get("rungs") for row in self.ledger.probes()}
        self._spent, self._expected = 0.0, 0.0

    def run(self, cohorts: Sequence[Cohort]) -> None:
        """Returns when every run of the cohorts has a line in the ledger."""
        self._pending = list(cohorts)
        due = sum(len(cohort.run_ids) for cohort in cohorts)
        for cohort in cohorts:
            self._stamps[cohort.id] = self._stamp(cohort)
        self._drop_checkpoints_of_others(cohorts)
        while self._pending or self.pool.busy:
            self._stop_at_deadline()
            self._give()
            for worker, cohort, message in self.pool.listen(_TICK_SECONDS):
                self._hear(worker, cohort, message)
            left = sum(len(c.run_ids) for c in self._pending)
            left += sum(len(worker.tag.run_ids) for worker in self.pool.busy)
            self.progress.update(due - left, due, self._left_seconds(), self._underway)

    def _give(self) -> None:
        """Work for idle workers: in order, what the memory allows, preferring what a worker has
        loaded among the next of equal standing."""
        if not self._pending:
            return
        for worker in self.pool.idle():
            cohort = self._next(worker)
            if cohort is None:
                return
            self._pending.remove(cohort)
            specs = [self.plan.specs[run] for run in cohort.run_ids]
            limits = Limits(
                micro_batch_tokens=cohort.micro_batch_tokens,
                evaluation_tokens=cohort.evaluation_tokens,
                generation_tokens=cohort.generation_tokens,
                seconds=self.run_seconds,
                checkpoint_seconds=self.checkpoint_seconds,
                prefix_cache_bytes=self.plan.machine.memory_bytes // (4 * self.pool.size),
            )
            order = CohortOrder(
                tuple(specs),
                self.ledger.folder.absolute(),
                f"checkpoints/{self._checkpoint(cohort).name}",
                limits,
                cohort.dequantized_gb,
                cohort.until,
                self._states(cohort),
            )
            worker.holds = material_key(specs[0], cohort.dequantized_gb)
            label = specs[0].label if len(specs) == 1 else _shared_label(specs)
            self._underway[id(worker)] = Underway(label)
            train = "tuneoff.running.cohort_job:train"
            self.pool.give(worker, job(train, order, parts=parts_of(specs)), cohort)

    def _next(self, worker: Worker) -> Cohort | None:
        """The first cohort that fits beside what is running; any when nothing is. A GPU is its
        worker's alone."""
        beside = [] if self.plan.machine.gpus else self.pool.busy
        room = self.plan.machine.memory_bytes - sum(other.tag.memory_bytes for other in beside)
        fitting = [c for c in self._pending if c.memory_bytes <= room or not beside]
        if not fitting:
            return None
        near = fitting[: 2 * self.pool.size]
        for cohort in near:
            spec = self.plan.specs[cohort.run_ids[0]]
            if material_key(spec, cohort.dequantized_gb) == worker.holds:
                return cohort
        return fitting[0]

    def _hear(self, worker: Worker, cohort: Cohort, message: Any) -> None:
        shown = self._underway.get(id(worker))
        if isinstance(message, Sign):
            progress = message.value
            if shown is not None:
                shown.share = progress.steps_done / max(1, progress.steps_due)
                shown.stage = progress.stage
                losses = list(progress.losses.values())
                shown.loss = sum(losses) / len(losses) if losses else shown.loss
            return
        self._underway.pop(id(worker), None)
        if isinstance(message, Done):
            if shown is not None:
                self._spent += time.monotonic() - shown.started
                self._expected += cohort.seconds
            self._record(cohort, message.value)
        elif isinstance(message, Failure | Died):
            self._recover(worker, cohort, message)

    def _record(self, cohort: Cohort, results: Sequence[Result]) -> None:
        """Lines first, then the checkpoint goes."""
        for result in results:
            self._append(cohort, result.record, result.predictions)
        self._checkpoint(cohort).unlink(missing_ok=True)

    def _append(self, cohort: Cohort, record: dict[str, Any], predictions: Any) -> None:
        if record["run_id"] in self._recorded:
            return  # it had its line before a kill that its cohort did not survive
        spec = self.plan.specs[record["run_id"]]
        record["cohort"] = {"id": cohort.id, "size": len(cohort.run_ids)}
        record["micro_batch_size"] = spec.training.micro_batch_size or spec.training.batch_size
        record["micro_batch_tokens"] = cohort.micro_batch_tokens
        record["retries"] = list(cohort.retries)
        record["limits"] = {"run_seconds": self.run_seconds}
        record["cost"] = self.cost(spec, record)
        if spec.kind == "probe":
            self.ledger.append_probe(record)
        else:
            self.ledger.append(record, predictions)
            from tuneoff.winner.tensors import prune

            prune(self.ledger.folder, self.ledger.records("run"))
        self._recorded.add(spec.run_id)
        if record["status"] not in ("done", "stopped"):
            self.progress.note(f"{spec.label}: {record['status']}: {record['reason']}")

    def _recover(self, worker: Worker, cohort: Cohort, trouble: Failure | Died) -> None:
        """Retry, or give up with the reason; a worker that failed is replaced by a fresh one."""
        if worker in self.pool.workers:
            self.pool.end(worker)
        self._log(cohort, trouble)
        stamp = self._stamp(cohort)
        gained = stamp != self._stamps.get(cohort.id, 0)
        tokens = sum(
            self.plan.survey.of_data(spec).batch_tokens(spec.training.batch_size)
            for spec in (self.plan.specs[run] for run in cohort.run_ids)
        )
        verdict = after(cohort, trouble, tokens, gained)
        if isinstance(verdict, GiveUp):
            self.give_up(cohort, verdict.status, verdict.reason)
            return
        if len(verdict) > 1:
            self._checkpoint(cohort).unlink(missing_ok=True)
        for one in verdict:
            self._stamps[one.id] = self._stamp(one)
        self._pending = [*verdict, *self._pending]
        self.save([*(other.tag for other in self.pool.busy), *self._pending])

    def give_up(
        self, cohort: Cohort, status: str, reason: str, keep_checkpoint: bool = False
    ) -> None:
        """A line with the reason for every run of a cohort that has none."""
        for run in cohort.run_ids:
            spec = self.plan.specs[run]
            record = record_of(spec, status, reason, now())
            facts = self.plan.survey.of_data(spec)
            record["classes"] = list(facts.classes)
            record["data"] = data_record(facts.report, facts.fingerprint)
            if self._rungs.get(run):
                record["rungs"] = self._rungs[run]
            self._append(cohort, record, None)
        if not keep_checkpoint:
            self._checkpoint(cohort).unlink(missing_ok=True)

    def _stop_at_deadline(self) -> None:
        if self.deadline is None or time.monotonic() < self.deadline or not self._pending:
            return
        for cohort in self._pending:
            self.give_up(cohort, "over_budget", _OVER, keep_checkpoint=True)
        self._pending = []

    def _left_seconds(self) -> float:
        """The predicted rest, corrected by how long the finished cohorts took."""
        rest = sum(cohort.seconds for cohort in self._pending)
        trust = 0.3 * (rest + self.later_seconds)  # a few short cohorts say little about the rest
        pace = (self._spent + trust) / max(self._expected + trust, 1e-9)
        for worker in self.pool.busy:
            shown = self._underway.get(id(worker))
            if shown is None:
                rest += worker.tag.seconds
            else:  # `seconds` are of training and of what follows; `share` is of training alone
                planned = worker.tag.seconds - (time.monotonic() - shown.started)
                rest += max(worker.tag.seconds * (1 - shown.share), planned)
        longest = max((cohort.seconds for cohort in self._pending), default=0.0)
        return pace * (max(rest / self.pool.size, longest) + self.later_seconds)

    def _checkpoint(self, cohort: Cohort) -> Path:
        """Named by the members too: another composition never takes it for its own."""
        members = hashlib.sha256(" ".join(cohort.run_ids).encode()).hexdigest()[:8]
        return self.ledger.folder / "checkpoints" / f"{cohort.id}-{members}.pt"

    def _states(self, cohort: Cohort) -> tuple[str, ...]:
        """The files of the probes' states at a rung, relative to the folder."""
        probes = cohort.run_ids if cohort.kind == "probe" else ()
        return tuple(f"checkpoints/{_state(run)}" for run in probes)

    def _stamp(self, cohort: Cohort) -> int:
        """Tells a new checkpoint from an old one; 0 when there is none."""
        path = self._checkpoint(cohort)
        return path.stat().st_mtime_ns if path.exists() else 0

    def _drop_checkpoints_of_others(self, cohorts: Sequence[Cohort]) -> None:
        """What an earlier plan left; nothing would ever go on from it."""
        mine = {self._checkpoint(cohort).name for cohort in self.plan.cohorts}
        mine |= {self._checkpoint(cohort).name for cohort in cohorts}
        mine |= {_state(run) for race in self.plan.races.values() for run in race.racing}
        for path in (self.ledger.folder / "checkpoints").glob("*"):
            if path.name not in mine:
                path.unlink(missing_ok=True)

    def _log(self, cohort: Cohort, trouble: Failure | Died) -> None:
        """The traceback, for whoever wants to know more than the reason."""
        folder = self.ledger.folder / "logs"
        folder.mkdir(exist_ok=True)
        text = trouble.trace if isinstance(trouble, Failure) else f"worker died: {trouble.cause}\n"
        labels = "\n".join(self.plan.specs[run].label for run in cohort.run_ids)
        with (folder / f"{cohort.id}.log").open("a", encoding="utf-8") as file:
            file.write(f"{now()}\n{labels}\n{text}\n")


def _state(run: str) -> str:
    """The file of a probe's state at a rung."""
    return f"{run}.rung.pt"


def _shared_label(specs: Sequence[RunSpec]) -> str:
    """`lora, bitfit ×6`."""
    names = list(dict.fromkeys(spec.method.name for spec in specs))
    return f"{', '.join(names[:3])}{', …' * (len(names) > 3)} ×{len(specs)}"
