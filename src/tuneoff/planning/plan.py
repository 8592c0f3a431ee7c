"""The plan: every probe and run of a study, who trains with whom and when, and what it will take.

    make_plan(load_study("study.yaml")).render(Console())

`plan.json` holds it. What is in there is not decided again: cohorts of unfinished runs stay as
they are when a study goes on or is extended, so that the numbers are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tuneoff.fit import head_of
from tuneoff.halving import Race, race
from tuneoff.planning.cohorts import Cohort, compose
from tuneoff.planning.duration import steps_of
from tuneoff.planning.facts import Survey
from tuneoff.planning.machine import Machine, measure
from tuneoff.planning.prediction import Prediction, predict
from tuneoff.planning.survey import survey
from tuneoff.runs import Contest, RunSpec, expand
from tuneoff.study import Study
from tuneoff.training.schedules import warmup_steps

if TYPE_CHECKING:
    from rich.console import Console

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """specs: probes and runs by run_id, in the study's order; cohorts: what is still to do, in
    order; final: learning rates are known, so that the runs' cohorts are fixed; workers: processes
    side by side; races: where each contest's probes stand."""

    study: str
    machine: Machine
    survey: Survey
    specs: Mapping[str, RunSpec]
    predictions: Mapping[str, Prediction]
    cohorts: tuple[Cohort, ...]
    finished: frozenset[str]
    final: bool
    workers: int
    races: Mapping[Contest, Race] = field(default_factory=dict)

    @property
    def settled(self) -> frozenset[str]:
        """What the cohorts leave out: the finished, and probes that wait or race no more."""
        due = {run for race in self.races.values() for run in race.due}
        idle = {spec.run_id for spec in self.runs("probe")} - due
        return self.finished | idle

    def runs(self, kind: str) -> list[RunSpec]:
        """The `probe`s or the `run`s."""
        return [spec for spec in self.specs.values() if spec.kind == kind]

    def cohorts_of(self, kind: str) -> list[Cohort]:
        """What is to do of the `probe`s or of the `run`s."""
        return [cohort for cohort in self.cohorts if cohort.kind == kind]

    @property
    def later_seconds(self) -> float:
        """Predicted time of what probes train after the next rung."""
        durations = [
            race.later * self.predictions[race.racing[0]].duration.total
            for race in self.races.values()
            if race.later
        ]
        return sum(durations) / self.workers

    @property
    def seconds(self) -> float:
        """Predicted time of what is still to do, on this plan's workers."""
        return self.span(self.cohorts) + self.later_seconds

    def span(self, cohorts: Sequence[Cohort]) -> float:
        """Time of some cohorts side by side."""
        longest = max((cohort.seconds for cohort in cohorts), default=0.0)
        return max(longest, sum(cohort.seconds for cohort in cohorts) / self.workers)

    def to_json(self) -> dict[str, Any]:
        """Plain data: `plan.json`. Provisional cohorts of runs are left out."""
        return {
            "format": FORMAT,
            "study": self.study,
            "machine": self.machine.to_json(),
            "workers": self.workers,
            "final": self.final,
            "seconds": round(self.seconds, 1),
            "cohorts": [
                cohort.to_json() for cohort in self.cohorts if self.final or cohort.kind == "probe"
            ],
            "runs": [self._run_json(spec) for spec in self.specs.values()],
        }

    def _run_json(self, spec: RunSpec) -> dict[str, Any]:
        prediction = self.predictions[spec.run_id]
        duration = prediction.duration
        return {
            "run_id": spec.run_id,
            "kind": spec.kind,
            "label": spec.label,
            "backbone": spec.backbone.name,
            "task": spec.task.name,
            "method": spec.method.name,
            "seed": spec.seed,
            "learning_rate": spec.learning_rate,
            "rate_from": spec.rate_from,
            "finished": spec.run_id in self.finished,
            "skipped": prediction.reason,
            "steps": duration.steps,
            "predicted": {
                "train_seconds": duration.training + duration.prefix,
                "evaluation_seconds": duration.evaluation,
                "memory_bytes": prediction.memory_bytes,
                "memory": prediction.memory.to_json(),
            },
            "trainable_parameters": self.survey.method(spec).trainable,
        }

    def render(self, console: Console) -> None:
        """The plan for people, 80 columns wide."""
        from tuneoff.planning.plan_table import render

        render(self, console)


def make_plan(
    study: Study,
    *,
    rates: Mapping[Contest, float] | None = None,
    earlier: Mapping[str, Any] | None = None,
    finished: Collection[str] = (),
    probes: Sequence[Mapping[str, Any]] = (),
    profiles: Sequence[Mapping[str, Any]] = (),
    known: Survey | None = None,
    machine: Machine | None = None,
    force: bool = False,
) -> Plan:
    """Everything that the study asks for.

    rates: found by probes; None while they are not, and runs are then planned at default rates.
    earlier: the folder's plan.json; finished: run ids with a result; probes: lines of
    probes.jsonl, which say who is still in the race; profiles: lines of profiles.jsonl, which
    calibrate the predictions; known: an earlier survey of the same study; force: try what is
    predicted not to fit.

    Raises StudyError, BackboneError and DataError for what cannot be run.
    """
    from tuneoff.fit import check_fit
    from tuneoff.probes import expand_probes

    check_fit(study)
    probing = expand_probes(study)
    specs = {spec.run_id: spec for spec in [*probing, *expand(study, rates)]}
    facts = known or survey(list(specs.values()))
    device = next(iter(specs.values())).device
    machine = machine or measure(device, study.budget.memory_gb)
    costs = _costs(profiles)
    predictions = {
        run: predict(spec, facts, machine, costs.get(spec.contest)) for run, spec in specs.items()
    }
    if force:
        predictions = {run: _forced(one) for run, one in predictions.items()}
    kept = [Cohort.of(one) for one in (earlier or {}).get("cohorts", ())]
    final = rates is not None or not probing
    races = {} if final else _races(study, probing, facts, predictions, probes, finished)
    number = 1 + max((int(cohort.id[1:].split(".")[0]) for cohort in kept), default=-1)
    plan = Plan(
        study.name,
        machine,
        facts,
        specs,
        predictions,
        cohorts=(),
        finished=frozenset(finished),
        final=final,
        workers=machine.gpus or study.budget.workers or machine.cores,
        races=races,
    )
    cohorts = compose(
        list(specs.values()),
        facts,
        predictions,
        device,
        int(machine.memory_bytes * 0.9),
        kept,
        plan.settled,
        number,
        races.values(),
    )
    return replace(plan, cohorts=tuple(cohorts))


def _races(
    study: Study,
    probes: Sequence[RunSpec],
    facts: Survey,
    predictions: Mapping[str, Prediction],
    rows: Sequence[Mapping[str, Any]],
    finished: Collection[str],
) -> dict[Contest, Race]:
    """Where the probes of each contest stand; where none are stopped early, all go to their end."""
    lines = {row["run_id"]: row for row in rows}
    out = {run for run, one in predictions.items() if one.reason} | set(finished)
    found: dict[Contest, list[RunSpec]] = {}
    for probe in probes:
        found.setdefault(probe.contest, []).append(probe)
    races = {}
    for contest, group in found.items():
        first = group[0]
        steps = steps_of(first, facts.of_data(first))
        metric = first.task.selection_metric(head_of(first.backbone, first.task))
        ids = [probe.run_id for probe in group]
        warm = warmup_steps(first.training, steps)
        races[contest] = race(ids, study.tuning.halving, steps, lines, out, metric, warm)
    return races


def _costs(profiles: Sequence[Mapping[str, Any]]) -> dict[Contest, Mapping[str, Any]]:
    """What each contest's newest profile measured, as runs will train."""
    found: dict[Contest, Mapping[str, Any]] = {}
    for row in profiles:
        cost = row.get("cost") or {}
        cost = cost.get("with_dequantized_cache") or cost
        if cost.get("step_seconds"):
            found[Contest(row["backbone"], row["task"], row["method"])] = cost
    return found


def _forced(prediction: Prediction) -> Prediction:
    return replace(prediction, reason=None)
