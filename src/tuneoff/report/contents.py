"""What a report is made of: the folder of a study, read once and typed.

Everything but a run's name and status may be missing: a study may be half done, all of its runs may
have failed, and a figure that was not measured is null. Forms: docs/architecture.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger

Interval = tuple[float | None, float | None]


class _Part(BaseModel):
    """Keys that a newer tuneoff added are no concern of the report."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Failure(_Part):
    """A run without a result, and why."""

    run_id: str = ""
    status: str = "failed"
    reason: str | None = None


class Difference(_Part):
    """A paired difference of one method to another, in the unit of the metric."""

    method: str | None = None
    """The other method."""
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    p_corrected: float | None = None
    tied: bool | None = None


class MethodResult(_Part):
    """One method in one contest, over its seeds."""

    method: str
    run_ids: list[str] | None = None
    """The runs behind the numbers; None where an older verdict does not name them."""
    n: int = 0
    n_failed: int = 0
    failures: list[Failure] = []
    mean: float | None = None
    sd: float | None = None
    interval: Interval | None = None
    per_seed: dict[str, float | None] = {}
    metrics: dict[str, Any] = {}
    versus_best: Difference | None = None
    versus_full: Difference | None = None
    cost: dict[str, Any] = {}
    learning_rate: float | None = None
    on_front: dict[str, bool | None] = {}

    def cost_of(self, key: str) -> float | None:
        """One measured cost; None where it was not measured."""
        value = self.cost.get(key)
        return float(value) if isinstance(value, int | float) else None


class ShiftResult(_Part):
    """One method on a further test set. versus_test: its score there minus that on test, paired
    by run."""

    method: str
    n: int = 0
    mean: float | None = None
    interval: Interval | None = None
    per_seed: dict[str, float | None] = {}
    versus_test: Difference | None = None


class Shift(_Part):
    """A further test set, whose rows are of another kind."""

    name: str
    n_test: int | None = None
    notes: list[str] = []
    """Runs that are left out of it, and why."""
    methods: list[ShiftResult] = []


class NoiseFloor(_Part):
    """The size of a difference that other seeds alone produce."""

    value: float | None = None
    unit: str | None = None
    definition: str | None = None
    sentence: str | None = None


class Answer(_Part):
    """The advice for one use."""

    use: str
    method: str | None = None
    sentence: str | None = None
    reason: str | None = None
    confidence: str | None = None
    needs: str | None = None


class Run(_Part):
    """One line of `results.jsonl` or `probes.jsonl`."""

    run_id: str
    status: str
    reason: str | None = None
    kind: str | None = None
    study: str | None = None
    backbone: str = ""
    task: str = ""
    method: str = ""
    settings: dict[str, Any] | None = None
    seed: int | None = None
    learning_rate: float | None = None
    rate_from: str | None = None
    """Who chose the rate: `study`, the `method`'s default, or `probes`."""
    classes: list[str] | None = None
    primary_metric: str | None = None
    metrics: dict[str, dict[str, Any] | None] | None = None
    interpolation: list[dict[str, Any]] | None = None
    """Scores between the original and the trained model."""
    history: list[dict[str, Any]] | None = None
    rungs: list[dict[str, Any]] | None = None
    """A probe's scores on the validation split where others were stopped, and it too perhaps."""
    best_step: int | None = None
    steps: int | None = None
    cost: dict[str, Any] | None = None
    cohort: dict[str, Any] | None = None
    micro_batch_size: int | None = None
    retries: list[Any] | None = None
    notes: list[Any] | None = None
    data: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    code: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    counted: bool = Field(default=True, exclude=True)
    """False when the verdict left it out: of other data, settings or code than now."""

    def score(self, split: str, metric: str) -> Any:
        """One metric of one split; None when the run has none."""
        return ((self.metrics or {}).get(split) or {}).get(metric)

    def cost_of(self, key: str) -> float | None:
        """One measured cost; None where it was not measured."""
        value = (self.cost or {}).get(key)
        return float(value) if isinstance(value, int | float) else None


class Profile(_Part):
    """One line of `profiles.jsonl`: the cost of a method alone, and what the plan had predicted."""

    backbone: str = ""
    task: str = ""
    method: str = ""
    settings: dict[str, Any] | None = None
    predicted: dict[str, float | None] = {}
    cost: dict[str, Any] | None = None

    @property
    def setting(self) -> str:
        """What tells apart two settings of one method."""
        return json.dumps([self.method, self.settings], sort_keys=True)

    def cost_of(self, key: str) -> float | None:
        """One measured cost; None where it was not measured."""
        value = (self.cost or {}).get(key)
        return float(value) if isinstance(value, int | float) else None


class Contest(_Part):
    """The methods on one backbone and one task."""

    backbone: str
    task: str
    metric: str
    higher_is_better: bool = True
    n_test: int | None = None
    seeds: list[int] = []
    confidence_level: float = 0.95
    headline: str | None = None
    noise_floor: NoiseFloor | None = None
    methods: list[MethodResult] = []
    best: str | None = None
    tied_with_best: list[str] = []
    answers: list[Answer] = []
    warnings: list[str] = []
    shift: list[Shift] = []
    runs: list[Run] = Field(default=[], exclude=True)
    probes: list[Run] = Field(default=[], exclude=True)
    profiles: list[Profile] = Field(default=[], exclude=True)

    @property
    def title(self) -> str:
        return f"{self.backbone} on {self.task}"

    @property
    def validation_metric(self) -> str:
        """What validation was judged by: the metric, or the loss where texts are written for the
        test split alone."""
        judged = [
            run.score("validation", self.metric)
            for run in [*self.runs, *self.probes]
            if run.status == "done"
        ]
        return "loss" if judged and all(one is None for one in judged) else self.metric

    @property
    def validation_rises(self) -> bool:
        """Whether more of `validation_metric` is better."""
        return self.higher_is_better and self.validation_metric == self.metric

    @property
    def ranked(self) -> list[MethodResult]:
        """Methods from best to worst; those without a score last."""
        sign = -1 if self.higher_is_better else 1
        return sorted(self.methods, key=lambda m: (m.mean is None, sign * (m.mean or 0), m.method))

    @property
    def advised(self) -> MethodResult | None:
        """What the headline advises: the best balance, else the best."""
        wanted = [a.method for a in self.answers if a.use == "best_balance"] + [self.best]
        found = {result.method: result for result in self.methods}
        return next((found[name] for name in wanted if name in found), None)

    def result(self, method: str | None) -> MethodResult | None:
        return next((result for result in self.methods if result.method == method), None)

    @property
    def full(self) -> MethodResult | None:
        """Full fine-tuning, under whatever name the study has it."""
        named = [r.versus_full.method for r in self.methods if r.versus_full]
        return self.result(next((name for name in named if name), "full"))

    def runs_of(self, method: str, done: bool = True) -> list[Run]:
        """A method's runs by seed; only those that are done, or all."""
        runs = [
            run
            for run in self.runs
            if run.counted and run.method == method and (run.status == "done" or not done)
        ]
        return sorted(runs, key=lambda run: (run.seed is None, run.seed))

    @property
    def failed(self) -> list[Run]:
        return [run for run in self.runs if run.status != "done"]


class Contents(_Part):
    """Everything that the report shows."""

    folder: Path
    study: str
    generated_at: str | None = None
    contests: list[Contest]
    runs: list[Run]
    study_yaml: str | None = None
    study_data: dict[str, Any] = {}
    """What study.yaml holds."""
    machine: dict[str, Any] = {}
    """What the plan knows of the machine: name, cores, gpus."""
    notices: list[str] = []

    @property
    def methods(self) -> list[str]:
        """Every method of the study, in the order in which it first appears."""
        named = [result.method for contest in self.contests for result in contest.methods]
        probed = [probe.method for contest in self.contests for probe in contest.probes]
        return list(dict.fromkeys(named + [run.method for run in self.runs] + probed))


def read_contents(folder: Path) -> Contents:
    """Reads the ledger, the verdict and the study of a folder.

    Raises LedgerError when there is no verdict, or a file is damaged.
    """
    ledger = Ledger(folder)
    path = folder / "verdict.json"
    if not path.exists():
        raise LedgerError(
            f"{path}: not found, and a report needs it; `tuneoff report {folder}` makes it from "
            "results.jsonl"
        )
    try:
        verdict = json.loads(path.read_text(encoding="utf-8"))
        runs = [Run.model_validate(record) for record in ledger.records()]
        probes = [Run.model_validate(record) for record in ledger.probes()]
        profiles = [Profile.model_validate(record) for record in ledger.profiles()]
        contests = _contests(verdict.get("contests") or [], runs, probes, profiles)
    except (ValueError, AttributeError) as error:
        detail = _first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise LedgerError(
            f"{folder}: a result has a form that this tuneoff cannot read ({detail}); "
            f"`tuneoff report {folder}` makes verdict.json anew"
        ) from error
    study_path = folder / "study.yaml"
    study_yaml = study_path.read_text(encoding="utf-8") if study_path.exists() else None
    return Contents(
        folder=folder,
        study=str(verdict.get("study") or (runs[0].study if runs else None) or folder.name),
        generated_at=verdict.get("generated_at"),
        contests=contests,
        runs=runs,
        study_yaml=study_yaml,
        study_data=_mapping(study_yaml),
        machine=_machine(folder / "plan.json"),
        notices=ledger.notices,
    )


def _mapping(text: str | None) -> dict[str, Any]:
    """The data of a YAML text; none where it is no mapping, which the page still shows as text."""
    try:
        data = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def _machine(path: Path) -> dict[str, Any]:
    """The machine of plan.json; nothing where there is no plan."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    machine = plan.get("machine") if isinstance(plan, dict) else None
    return machine if isinstance(machine, dict) else {}


def _contests(
    judged: list[dict[str, Any]], runs: list[Run], probes: list[Run], profiles: list[Profile]
) -> list[Contest]:
    """The verdict's contests with their runs, then those that have runs but no verdict yet."""
    forms = {(form["backbone"], form["task"]): form for form in judged}
    for run in runs:
        forms.setdefault(
            (run.backbone, run.task),
            {
                "backbone": run.backbone,
                "task": run.task,
                "metric": run.primary_metric or "score",
                "headline": "No verdict yet: these runs came after the verdict was made.",
            },
        )
    contests = []
    for key, form in forms.items():
        contest = Contest.model_validate(form)
        mine = [run for run in runs if (run.backbone, run.task) == key]
        theirs = [probe for probe in probes if (probe.backbone, probe.task) == key]
        update = {
            "runs": _labelled(contest, mine),
            "probes": theirs,
            "profiles": [one for one in profiles if (one.backbone, one.task) == key],
        }
        contests.append(contest.model_copy(update=update))
    return contests


def _labelled(contest: Contest, runs: list[Run]) -> list[Run]:
    """Runs under the verdict's name of their method, which tells apart several settings of one.

    A run that the verdict does not name is not counted; an older verdict names none.
    """
    labels = {
        run_id: result.method
        for result in contest.methods
        for run_id in [*(result.run_ids or ()), *(failure.run_id for failure in result.failures)]
    }
    if all(result.run_ids is None for result in contest.methods):
        return runs
    return [
        run.model_copy(
            update={
                "method": labels.get(run.run_id, run.method),
                "counted": run.run_id in labels,
            }
        )
        for run in runs
    ]


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
