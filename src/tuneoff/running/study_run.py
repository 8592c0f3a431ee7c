"""A whole study, from its plan to its winner; whatever of it is finished is not done again.

    run_study(load_study("study.yaml"), Path("runs/quickstart"))

plan -> profiles -> probes -> rates -> runs -> verdict -> report -> winner. The parent writes the
ledger and never imports torch; workers plan, train and measure.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tuneoff.errors import TuneoffError
from tuneoff.halving import reached
from tuneoff.ledger import Ledger, stale
from tuneoff.planning.cohorts import Cohort
from tuneoff.planning.machine import cores
from tuneoff.planning.plan import Plan
from tuneoff.probes import choose_rates
from tuneoff.running.cohort_queue import CohortQueue
from tuneoff.running.orphans import wait_for_orphans
from tuneoff.running.plan_file import read_plan, write_plan
from tuneoff.running.pool import Pool
from tuneoff.running.profiles import cost_of
from tuneoff.running.profiling import measure_all
from tuneoff.running.progress import Lines, Progress
from tuneoff.running.single_job import result
from tuneoff.running.study_parts import parts_of_study
from tuneoff.running.worker import Setup, job
from tuneoff.runs import Contest
from tuneoff.study import Study
from tuneoff.whole_file import write_whole

_FINAL = ("done", "diverged", "failed", "out_of_memory", "over_budget")


class Interrupted(TuneoffError):  # noqa: N818 - a stop is no error
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

    def __init__(
        self,
        study: Study,
        ledger: Ledger,
        progress: Progress,
        force: bool,
        retry: bool,
        checkpoint_seconds: float,
    ):
        self.study, self.ledger, self.progress = study, ledger, progress
        self.force, self.retry, self.checkpoint_seconds = force, retry, checkpoint_seconds
        self.folder = ledger.folder
        self.started = time.monotonic()
        self.plan: Plan | None = None
        self.lost: set[str] = set()
        """Probes that this start could not bring to their end."""
        quantized = any(
            one.backbone.quantization != "none" or one.method.settings.quantization
            for one in study.placed()
        )
        self.setup = Setup(self.folder.absolute(), quantized=quantized)

    def run(self) -> None:
        """All of it."""
        written = yaml.safe_dump(self.study.written(), sort_keys=False, allow_unicode=True)
        write_whole(self.folder / "study.yaml", written)
        earlier = read_plan(self.folder)
        size = self.study.budget.workers or cores()
        with Pool(size, self.setup) as pool:
            self.progress.phase("planning")
            self.plan = self._make_plan(pool, earlier, None)
            pool.stop()  # the planner's memory is not the first run's
            pool.size, pool.gpus = self.plan.workers, self.plan.machine.gpus
            profiled = measure_all(pool, self.plan, self.ledger, self.progress)
            self.plan = self._make_plan(pool, earlier, None, self.plan)
            if not self.plan.final:
                self.progress.phase("probes")
                self.plan = self._probe(pool, self.plan, profiled, earlier)
                self.plan = self._make_plan(pool, earlier, self._rates(self.plan), self.plan)
            write_plan(self.folder, self.plan, self.plan.cohorts_of("run"))
            self._name_stale(self.plan)
            self.progress.phase("runs")
            queue = self._queue(pool, self.plan, profiled)
            self._skip(queue, self.plan)
            queue.run(self.plan.cohorts_of("run"))
        self._conclude()

    def _probe(
        self,
        pool: Pool,
        plan: Plan,
        profiled: dict[Contest, dict[str, Any]],
        earlier: dict[str, Any] | None,
    ) -> Plan:
        """Trains the probes, from rung to rung where some are stopped early; -> the last plan."""
        while cohorts := plan.cohorts_of("probe"):
            write_plan(self.folder, plan, cohorts, earlier)
            self._queue(pool, plan, profiled, earlier).run(cohorts)
            lines = {row["run_id"]: row for row in self.ledger.probes()}
            self.lost |= {
                run
                for cohort in cohorts
                for run in cohort.run_ids
                if not reached(lines.get(run), cohort.until)
            }
            if not any(race.until for race in plan.races.values()):
                break
            plan = self._make_plan(pool, earlier, None, plan)
            for contest, race in plan.races.items():
                if race.begun and race.due:
                    self.progress.note(
                        f"{' / '.join(contest)}: {len(race.racing)} of the probes go on from step "
                        f"{race.begun}"
                    )
        return plan

    def stopped(self) -> str:
        """What a person reads after Ctrl-C."""
        wanted = {spec.run_id for spec in self.plan.runs("run")} if self.plan else set()
        done = len(wanted & self.ledger.finished_ids())
        counted = f"{done} of {len(wanted)} runs are finished; " if wanted else ""
        return f"stopped: {counted}the same command goes on from here ({self.folder})"

    def _make_plan(
        self,
        pool: Pool,
        earlier: dict[str, Any] | None,
        rates: dict[Contest, float] | None,
        before: Plan | None = None,
    ) -> Plan:
        settings = {
            "rates": rates,
            "earlier": earlier,
            "finished": self._finished() | self.lost,
            "probes": self.ledger.probes(),
            "force": self.force,
            "profiles": self.ledger.profiles(),
            "known": before and before.survey,
            "machine": before and before.machine,
        }
        order = job(
            "tuneoff.running.plan_job:plan", self.study, settings, parts=parts_of_study(self.study)
        )
        plan = result(pool, order, "planning", self.folder / "logs")
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

    def _rates(self, plan: Plan) -> dict[Contest, float]:
        """Each method's best rate; a method whose probes all failed keeps its default."""
        wanted = {spec.run_id for spec in plan.runs("probe")}
        rows = [row for row in self.ledger.probes() if row["run_id"] in wanted]
        choices = choose_rates(self.study, rows)
        for spec in plan.runs("probe"):
            if spec.contest not in choices:
                self.progress.note(
                    f"{' / '.join(spec.contest)}: no probe came to its end; "
                    "the method's default rate is used"
                )
        for contest, choice in choices.items():
            edge = " (the edge of the rates tried: a better one may lie beyond)"
            self.progress.note(
                f"{' / '.join(contest)}: learning rate {choice.rate:g}"
                f"{edge if choice.at_edge else ''}"
            )
        return {contest: choice.rate for contest, choice in choices.items()}

    def _queue(
        self,
        pool: Pool,
        plan: Plan,
        profiled: dict[Contest, dict[str, Any]],
        earlier: dict[str, Any] | None = None,
    ) -> CohortQueue:
        budget = self.study.budget
        minutes, run_minutes = budget.minutes, budget.run_minutes
        probing = plan.final or not plan.cohorts_of("probe")
        return CohortQueue(
            plan,
            self.ledger,
            pool,
            self.progress,
            cost=lambda spec, record: cost_of(record, profiled.get(spec.contest)),
            save=lambda cohorts: write_plan(self.folder, plan, cohorts, earlier),
            deadline=None if minutes is None else self.started + 60 * minutes,
            run_seconds=None if run_minutes is None else 60 * run_minutes,
            checkpoint_seconds=self.checkpoint_seconds,
            later_seconds=0.0
            if probing
            else plan.later_seconds + plan.span(plan.cohorts_of("run")),
        )

    def _skip(self, queue: CohortQueue, plan: Plan) -> None:
        """A line for each run that will not fit."""
        standing = {
            record["run_id"] for record in self.ledger.records() if record["status"] == "skipped"
        }
        for spec in plan.runs("run"):
            reason = plan.predictions[spec.run_id].reason
            if reason and spec.run_id not in plan.finished | standing:
                queue.give_up(Cohort("skipped", "run", (spec.run_id,), 0.0, 0), "skipped", reason)

    def _name_stale(self, plan: Plan) -> None:
        """Results in the folder that are of other settings, data or code than now."""
        old = stale(self.ledger.records(), set(plan.specs))
        if old:
            names = ", ".join(sorted({record["method"] for record in old}))
            self.progress.note(
                f"{len(old)} results in {self.folder} are of other settings, data or code and do "
                f"not count ({names}); they stay in results.jsonl"
            )

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
                order = job(
                    "tuneoff.running.plan_job:export", self.folder, parts=parts_of_study(self.study)
                )
                try:
                    result(pool, order, "winner", self.folder / "logs")
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
