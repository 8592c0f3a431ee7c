"""A whole study, from its plan to its winner; whatever of it is finished is not done again.

    run_study(load_study("study.yaml"), Path("runs/quickstart"))

plan -> profiles -> probes -> rates -> runs -> verdict -> report -> winner. The parent writes the
ledger and never imports torch; workers plan, train and measure.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tuneoff.errors import LedgerError, TuneoffError
from tuneoff.ledger import Ledger, stale
from tuneoff.planning.cohorts import Cohort
from tuneoff.planning.machine import cores
from tuneoff.planning.plan import FORMAT, Plan
from tuneoff.probes import choose_rates
from tuneoff.runs import Contest, RunSpec
from tuneoff.running.cohort_job import versions
from tuneoff.running.cohort_queue import CohortQueue
from tuneoff.running.orphans import wait_for_orphans
from tuneoff.running.pool import Died, Pool
from tuneoff.running.profile_job import ProfileOrder
from tuneoff.running.profiles import cost_of, profile_id, profile_record
from tuneoff.running.progress import Lines, Progress
from tuneoff.running.study_parts import parts_of, parts_of_study
from tuneoff.running.worker import Done, Failure, Job, Setup, job
from tuneoff.study import Study
from tuneoff.training.outcome import Limits

_FINAL = ("done", "diverged", "failed", "out_of_memory", "over_budget")


class Interrupted(TuneoffError):
    """The study was stopped by Ctrl-C or SIGTERM."""

    exit_code = 130


def run_study(
    study: Study,
    out: Path,
    progress: Progress | None = None,
    *,
    force: bool = False,
    retry: bool = False,
    checkpoint_seconds: float = 30.0,
) -> Path:
    """Runs what of the study has no result yet, in the folder `out`, and returns that.

    force: try runs that are predicted not to fit; retry: run again what failed or ran out of
    memory; checkpoint_seconds: how often training is saved, and so what a kill may cost.

    Raises StudyError, BackboneError and DataError before anything trains, LedgerError for a folder
    that another process is writing to, Interrupted.
    """
    out = Path(out)
    progress = progress or Lines()
    with Ledger(out) as ledger, _stoppable():
        for notice in ledger.notices:
            progress.note(notice)
        wait_for_orphans(out)
        running = StudyRun(study, ledger, progress, force, retry, checkpoint_seconds)
        try:
            running.run()
        except KeyboardInterrupt:
            raise Interrupted(running.stopped()) from None
        finally:
            progress.close()
    return out


class StudyRun:
    """One start of a study."""

    def __init__(self, study: Study, ledger: Ledger, progress: Progress, force: bool,
                 retry: bool, checkpoint_seconds: float):
        self.study, self.ledger, self.progress = study, ledger, progress
        self.force, self.retry, self.checkpoint_seconds = force, retry, checkpoint_seconds
        self.folder = ledger.folder
        self.started = time.monotonic()
        self.plan: Plan | None = None
        quantized = any(backbone.quantization != "none" for backbone in study.backbones) or any(
            method.settings.quantization for method in study.methods
        )
        self.setup = Setup(self.folder.absolute(), quantized=quantized)

    def run(self) -> None:
        """All of it."""
        self._write("study.yaml", yaml.safe_dump(self.study.written(), sort_keys=False,
                                                 allow_unicode=True))
        earlier = self._earlier_plan()
        size = self.study.budget.workers or cores()
        with Pool(size, self.setup) as pool:
            self.progress.phase("planning")
            self.plan = self._make_plan(pool, earlier, None)
            pool.size = self.plan.workers
            self._name_stale(self.plan)
            profiled = self._profile(pool, self.plan)
            self.plan = self._make_plan(pool, earlier, None, self.plan)
            if not self.plan.final:
                self._save(self.plan, self.plan.cohorts_of("probe"), earlier)
                self.progress.phase("probes")
                self._queue(pool, self.plan, profiled).run(self.plan.cohorts_of("probe"))
                self.plan = self._make_plan(pool, earlier, self._rates(self.plan), self.plan)
            self._save(self.plan, self.plan.cohorts_of("run"))
            self.progress.phase("runs")
            queue = self._queue(pool, self.plan, profiled)
            self._skip(queue, self.plan)
            queue.run(self.plan.cohorts_of("run"))
        self._conclude()

    def stopped(self) -> str:
        """What a person reads after Ctrl-C."""
        wanted = {spec.run_id for spec in self.plan.runs("run")} if self.plan else set()
        done = len(wanted & self.ledger.finished_ids())
        counted = f"{done} of {len(wanted)} runs are finished; " if wanted else ""
        return f"stopped: {counted}the same command goes on from here ({self.folder})"

    def _make_plan(self, pool: Pool, earlier: dict[str, Any] | None,
                   rates: dict[Contest, float] | None, before: Plan | None = None) -> Plan:
        settings = {
            "rates": rates, "earlier": earlier, "finished": self._finished(), "force": self.force,
            "profiles": self.ledger.profiles(), "known": before and before.survey,
            "machine": before and before.machine,
        }  # fmt: skip
        order = job("tuneoff.running.plan_job:plan", self.study, settings,
                    parts=parts_of_study(self.study))
        plan = self._alone(pool, order)
        assert isinstance(plan, Plan)
        return plan

    def _finished(self) -> set[str]:
        """Probes and runs that have a result which another start would not change."""
        final = {"done", "diverged"} if self.retry else set(_FINAL)
        limit = self.study.budget.run_minutes
        found = self.ledger.finished_ids(final) | {
            record["run_id"] for record in self.ledger.probes() if record["status"] in final
        }
        for record in [*self.ledger.records(), *self.ledger.probes()]:
            if record["status"] == "over_budget":
                had = (record.get("limits") or {}).get("run_seconds")
                same = record["steps"] > 0 and had == (limit and limit * 60)
                found -= set() if same else {record["run_id"]}
        return found

    def _alone(self, pool: Pool, order: Job) -> Any:
        """One job on one worker; its error is ours."""
        worker = pool.idle(1)[0]
        pool.give(worker, order, "alone")
        while True:
            for _, _, message in pool.listen(1.0):
                if isinstance(message, Done):
                    return message.value
                if isinstance(message, Failure):
                    if message.error is not None:
                        raise message.error
                    raise RuntimeError(f"a worker failed:\n{message.trace}")
                if isinstance(message, Died):
                    raise TuneoffError(
                        f"a worker died ({message.cause}) before training began; run again, and "
                        "see `tuneoff doctor` if it happens twice"
                    )

    def _profile(self, pool: Pool, plan: Plan) -> dict[Contest, dict[str, Any]]:
        """The cost of each setting, in a fresh worker with nothing beside it; cached on disk."""
        known = {record["run_id"]: record for record in self.ledger.profiles()}
        found: dict[Contest, dict[str, Any]] = {}
        contests = {spec.contest: spec for spec in plan.runs("run")
                    if not plan.predictions[spec.run_id].reason}  # fmt: skip
        todo = [spec for spec in contests.values()
                if profile_id(spec, plan.machine.name) not in known]  # fmt: skip
        if todo:
            self.progress.phase("profiles")
        for spec in contests.values():
            record = known.get(profile_id(spec, plan.machine.name))
            if record is None:
                self.progress.update(len(found), len(contests), None, {})
                record = self._measure(pool, plan, spec)
                self.ledger.append_profile(record)
            found[spec.contest] = record
        return found

    def _measure(self, pool: Pool, plan: Plan, spec: RunSpec) -> dict[str, Any]:
        """Alone and in 4 bits; where 4-bit weights are kept dequantized, that is measured apart."""
        tokens = plan.predictions[spec.run_id].micro_batch_tokens
        cost, reason = self._measured(pool, ProfileOrder(spec, Limits(micro_batch_tokens=tokens)))
        gigabytes = plan.dequantized_gb.get(spec.run_id)
        if cost is not None and gigabytes:
            order = ProfileOrder(spec, Limits(micro_batch_tokens=tokens), gigabytes)
            cost["with_dequantized_cache"], _ = self._measured(pool, order)
        if cost is None:
            self.progress.note(f"{spec.label}: its cost was not measured: {reason}")
        return profile_record(spec, plan.machine.name, cost, reason, versions())

    def _measured(self, pool: Pool, order: ProfileOrder) -> tuple[dict[str, Any] | None, str | None]:
        pool.stop()
        worker = pool.idle(1)[0]
        profile = "tuneoff.running.profile_job:profile"
        pool.give(worker, job(profile, order, parts=parts_of([order.spec])), "profile")
        while True:
            for _, _, message in pool.listen(1.0):
                pool.stop()
                if isinstance(message, Done):
                    return message.value, None
                if isinstance(message, Failure):
                    return None, message.reason
                assert isinstance(message, Died)
                return None, f"the worker died ({message.cause})"

    def _rates(self, plan: Plan) -> dict[Contest, float]:
        """Each method's best rate; a method whose probes all failed keeps its default."""
        wanted = {spec.run_id for spec in plan.runs("probe")}
        rows = [row for row in self.ledger.probes() if row["run_id"] in wanted]
        choices = choose_rates(self.study, rows)
        for spec in plan.runs("probe"):
            if spec.contest not in choices:
                self.progress.note(f"{' / '.join(spec.contest)}: no probe came to its end; "
                                   "the method's default rate is used")
        for contest, choice in choices.items():
            edge = " (the edge of the rates tried: a better one may lie beyond)"
            self.progress.note(f"{' / '.join(contest)}: learning rate {choice.rate:g}"
                               f"{edge if choice.at_edge else ''}")
        return {contest: choice.rate for contest, choice in choices.items()}

    def _queue(self, pool: Pool, plan: Plan, profiled: dict[Contest, dict[str, Any]]) -> CohortQueue:
        budget = self.study.budget
        minutes, run_minutes = budget.minutes, budget.run_minutes
        probing = plan.final or not plan.cohorts_of("probe")
        return CohortQueue(
            plan, self.ledger, pool, self.progress,
            cost=lambda spec, record: cost_of(record, profiled.get(spec.contest)),
            save=lambda cohorts: self._save(plan, cohorts),
            deadline=None if minutes is None else self.started + 60 * minutes,
            run_seconds=None if run_minutes is None else 60 * run_minutes,
            checkpoint_seconds=self.checkpoint_seconds,
            later_seconds=0.0 if probing else plan.span(plan.cohorts_of("run")),
        )  # fmt: skip

    def _skip(self, queue: CohortQueue, plan: Plan) -> None:
        """A line for each run that will not fit."""
        standing = {record["run_id"] for record in self.ledger.records()
                    if record["status"] == "skipped"}  # fmt: skip
        for spec in plan.runs("run"):
            reason = plan.predictions[spec.run_id].reason
            if reason and spec.run_id not in plan.finished | standing:
                queue.give_up(Cohort("skipped", "run", (spec.run_id,), 0.0, 0), "skipped", reason)

    def _name_stale(self, plan: Plan) -> None:
        """Results in the folder that are of other settings, data or code than now."""
        if not plan.final:
            return  # rates are not known yet, and so neither are the runs
        old = stale(self.ledger.records(), set(plan.specs))
        if old:
            names = ", ".join(sorted({record["method"] for record in old}))
            self.progress.note(
                f"{len(old)} results in {self.folder} are of other settings, data or code and do "
                f"not count ({names}); they stay in results.jsonl"
            )

    def _earlier_plan(self) -> dict[str, Any] | None:
        path = self.folder / "plan.json"
        if not path.exists():
            return None
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LedgerError(
                f"{path}: is not JSON ({error}); remove it, and unfinished runs start anew"
            ) from None
        if plan.get("format") != FORMAT:
            raise LedgerError(
                f"{path}: a plan of format {plan.get('format')!r}, and this tuneoff reads {FORMAT};"
                " use the version that wrote it, or another folder (--out)"
            )
        assert isinstance(plan, dict)
        return plan

    def _save(self, plan: Plan, cohorts: Sequence[Cohort],
              earlier: dict[str, Any] | None = None) -> None:
        """plan.json with these cohorts still to do. While probes run, the cohorts of runs that an
        earlier plan fixed stay in it."""
        content = replace(plan, cohorts=tuple(cohorts)).to_json()
        ids = {cohort.id for cohort in cohorts}
        for one in (earlier or {}).get("cohorts", ()):
            if one["kind"] == "run" and one["id"] not in ids:
                content["cohorts"].append(one)
        self._write("plan.json", json.dumps(content, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        """A file that is whole or as it was."""
        path = self.folder / name
        temporary = path.with_name(f".{name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _conclude(self) -> None:
        """The verdict, the report and the winner of what there is."""
        from tuneoff.report import write_report
        from tuneoff.verdict import make_verdict

        assert self.plan is not None
        self.progress.phase("verdict")
        wanted = [spec.run_id for spec in self.plan.runs("run")]
        make_verdict(self.folder, self.study.comparison.confidence, wanted)
        if any(record["status"] == "done" for record in _of(self.ledger, wanted)):
            self.progress.phase("winner")
            with Pool(1, self.setup) as pool:
                order = job("tuneoff.running.plan_job:export", self.folder,
                            parts=parts_of_study(self.study))
                try:
                    self._alone(pool, order)
                except TuneoffError as error:
                    self.progress.note(f"the winner was not exported: {error}")
        write_report(self.folder)


def _of(ledger: Ledger, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """The records of some runs."""
    ids = set(wanted)
    return (record for record in ledger.records() if record["run_id"] in ids)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C; signals are the main thread's alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
