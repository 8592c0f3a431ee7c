"""Our figures beside the published ones, cell by cell, with what differs in the conditions.

Read from the `cells`, `publication` and `conditions` of the folder's study.yaml, from the verdict
and from the ledger. A figure from smaller data, another model or changed settings is never shown
without the words that say so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from statistics import fmean
from typing import Any, NamedTuple

from tuneoff.recast.scale import described
from tuneoff.report import quantities as q
from tuneoff.report.contents import Contents, Contest, MethodResult, Run
from tuneoff.study_cells import Conditions, Publication, Published

COSTS = {
    "train_seconds": "training time",
    "peak_memory_bytes": "peak memory",
    "trainable_parameters": "trainable parameters",
    "trainable_share": "trainable share",
}

_COLUMNS = (
    *("backbone", "task", "method", "measure", "class", "split", "published", "ours"),
    *("differs", "note", "failure", "reproduction"),
)


class Figure(NamedTuple):
    """One measure of a cell, in our units: shares, seconds, bytes. split: `test`, `validation`, or
    empty for a cost; name: a metric's or a cost's; of_class: a class's name, or empty."""

    name: str
    split: str
    published: float | None
    ours: float | None
    of_class: str = ""

    @property
    def title(self) -> str:
        """`accuracy (validation)`, `precision of class 0`."""
        name = COSTS.get(self.name) or q.metric_name(self.name)
        of_class = f" of {self.of_class}" if self.of_class else ""
        return f"{name}{of_class}{' (validation)' if self.split == 'validation' else ''}"

    def text(self, value: float | None) -> str:
        """A value of this measure for people."""
        if value is None:
            return q.NOTHING
        if self.name == "train_seconds":
            return q.duration(value)
        if self.name == "peak_memory_bytes":
            return q.memory(value)
        if self.name == "trainable_parameters":
            return q.count(value)
        if self.name == "trainable_share":
            return f"{value * 100:.2f} %"
        return q.score(self.name, value)


@dataclass(frozen=True)
class CellFigures:
    """One cell. differs: its own conditions, in words; failure: why it has no figure of ours."""

    backbone: str
    task: str
    method: str
    figures: tuple[Figure, ...]
    differs: str
    note: str
    failure: str

    @property
    def title(self) -> str:
        return f"{self.backbone} / {self.task} / {self.method}"

    @property
    def told(self) -> list[Figure]:
        """What the authors report."""
        return [figure for figure in self.figures if figure.published is not None]

    def figure(self, name: str, split: str) -> Figure | None:
        """A measure over all classes."""
        keys = ((one.name, one.split, one.of_class) for one in self.figures)
        found = dict(zip(keys, self.figures, strict=True))
        return found.get((name, split, ""))


@dataclass(frozen=True)
class Beside:
    """A study of cells beside its publication. warning: `Not a reproduction: ...`, or empty where
    all is as published; conditions: what holds for all cells."""

    source: str
    warning: str
    conditions: str
    cells: tuple[CellFigures, ...]
    charts: tuple[str, ...]


def beside(contents: Contents) -> Beside | None:
    """None for a study of no publication, which has no cells with published figures."""
    study = contents.study_data
    written = study.get("cells") or []
    figures = any(cell.get("published") for cell in written)
    if not (figures or (written and study.get("publication"))):
        return None
    conditions = Conditions.model_validate(study.get("conditions") or {})
    where = study.get("publication")
    publication = Publication.model_validate(where) if where else None
    models = {one["name"]: str(one["model"]) for one in study.get("backbones") or []}
    cells = tuple(_cell(contents, cell, conditions, models) for cell in written)
    return Beside(
        source=_source(publication),
        warning=_warning(conditions, models),
        conditions=_common(contents, publication),
        cells=cells,
        charts=tuple(study.get("charts") or ()),
    )


def measured(contents: Contents) -> tuple[CellFigures, ...]:
    """Every method of every contest as a cell, of a study of which nothing is published."""
    nothing = Published()
    cells = []
    for contest in contents.contests:
        for result in contest.ranked:
            figures = tuple(_figures(nothing, contest, result, contest.runs_of(result.method)))
            names = (contest.backbone, contest.task, result.method)
            cells.append(CellFigures(*names, figures, differs="", note="", failure=""))
    return tuple(cells)


def published_table(found: Beside) -> str:
    """`published.csv`: one row per cell and measure, numbers exact, in the units of results.csv."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in found.cells:
        own = {key: getattr(cell, key) for key in ("backbone", "task", "method")}
        own |= {key: getattr(cell, key) for key in ("differs", "note", "failure")}
        own["reproduction"] = found.warning or "as published"
        for one in cell.told:
            figure = {"measure": one.name, "class": one.of_class, "split": one.split}
            writer.writerow(own | figure | {"published": one.published, "ours": one.ours})
    return buffer.getvalue()


def _source(publication: Publication | None) -> str:
    if publication is None:
        return "the study's own figures"
    year = f", {publication.year}" if publication.year else ""
    link = f", {publication.link}" if publication.link else ""
    return f"{publication.title} ({publication.authors}{year}{link})"


def _warning(conditions: Conditions, models: dict[str, str]) -> str:
    """`Not a reproduction: ...` with every reason; empty where there is none."""
    reasons = []
    if conditions.scale != "full":
        reasons.append(described(conditions.scale))
    if conditions.backbones:
        pairs = [
            f"{PurePath(models.get(name, name)).name} for {model}"
            for name, model in conditions.backbones.items()
        ]
        reasons.append(f"other backbones ({', '.join(pairs)})")
    if conditions.data:
        names = ", ".join(dict.fromkeys(conditions.data.values()))
        reasons.append(f"other data than {names}")
    if conditions.settings:
        reasons.append(f"changed settings ({', '.join(conditions.settings)})")
    if conditions.fair:
        reasons.append("a fair contest: rates searched, equal training, several seeds")
    if not reasons:
        return ""
    return (
        f"Not a reproduction: {'; '.join(reasons)}. The two columns stand side by side to show "
        "what runs, and cannot be compared."
    )


def _common(contents: Contents, publication: Publication | None) -> str:
    machine = contents.machine
    ours = ""
    if machine:
        word = "GPU" if machine.get("gpus") else "core"
        count = machine.get("gpus") or machine.get("cores") or 0
        plural = "s" if count != 1 else ""
        ours = f"Ours ran on {machine.get('name') or 'this machine'}, {count} {word}{plural}"
    theirs = f"theirs on {publication.hardware}" if publication and publication.hardware else ""
    joined = "; ".join(part for part in (ours, theirs) if part)
    return f"{joined[:1].upper()}{joined[1:]}." if joined else ""


def _cell(
    contents: Contents, written: dict[str, Any], conditions: Conditions, models: dict[str, str]
) -> CellFigures:
    backbone, task = written["backbone"], written["task"]
    method = written["method"]["name"]
    published = Published.model_validate(written.get("published") or {})
    contest = next(
        (one for one in contents.contests if (one.backbone, one.task) == (backbone, task)), None
    )
    result = contest.result(method) if contest else None
    runs = contest.runs_of(method) if contest else []
    figures = tuple(_figures(published, contest, result, runs))
    failure = ""
    if not runs and contest:
        failed = contest.runs_of(method, done=False)
        failure = f"{failed[-1].status}: {failed[-1].reason}" if failed else ""
    differs = _differs(backbone, task, conditions, models, runs[0]) if runs else ""
    return CellFigures(backbone, task, method, figures, differs, published.note or "", failure)


def _figures(
    published: Published, contest: Contest | None, result: MethodResult | None, runs: list[Run]
) -> Iterator[Figure]:
    """What is published, then what only we measured."""
    told: set[tuple[str, str]] = set()
    for split, scores in (("test", published.test), ("validation", published.validation)):
        for name, value in scores.items():
            percent = published.unit == "percent" and q.is_share(name)
            told.add((name, split))
            yield Figure(name, split, value / 100 if percent else value, _score(runs, split, name))
    for index, one in enumerate(published.per_class):
        name = _class_name(runs, index)
        for measure, share in one.model_dump(exclude_none=True).items():
            yield Figure(measure, "test", share, _class_score(runs, name, measure), name)
    if contest and (contest.metric, "test") not in told:
        yield Figure(contest.metric, "test", None, _score(runs, "test", contest.metric))
        told.add((contest.metric, "test"))
    for name in result.metrics if result else ():
        if (name, "test") not in told:
            yield Figure(name, "test", None, _score(runs, "test", name))
    yield from _costs(published, result)


def _costs(published: Published, result: MethodResult | None) -> Iterator[Figure]:
    told = {
        "train_seconds": published.minutes and published.minutes * 60,
        "peak_memory_bytes": published.memory_gb and published.memory_gb * 1e9,
        "trainable_parameters": published.trainable_parameters,
    }
    for name, value in told.items():
        yield Figure(name, "", value, result.cost_of(name) if result else None)
    if published.trainable_share is not None:
        part, whole = (
            result.cost_of(name) if result else None
            for name in ("trainable_parameters", "total_parameters")
        )
        ours = part / whole if part is not None and whole else None
        yield Figure("trainable_share", "", published.trainable_share, ours)


def _score(runs: list[Run], split: str, name: str) -> float | None:
    """Mean over the seeds that have it."""
    values = [run.score(split, name) for run in runs]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return fmean(numbers) if numbers else None


def _class_name(runs: list[Run], index: int) -> str:
    classes = next((run.classes for run in runs if run.classes), None) or []
    return classes[index] if index < len(classes) else f"class {index}"


def _class_score(runs: list[Run], name: str, measure: str) -> float | None:
    tables = [run.score("test", "per_class") for run in runs]
    rows = [table[name] for table in tables if isinstance(table, dict) and name in table]
    numbers = [float(row[measure]) for row in rows if row.get(measure) is not None]
    return fmean(numbers) if numbers else None


def _differs(
    backbone: str, task: str, conditions: Conditions, models: dict[str, str], run: Run
) -> str:
    """The conditions of one cell: model and size, rows, steps, precision."""
    size = run.cost_of("total_parameters")
    parameters = f"{q.count(size)} parameters" if size else ""
    words = []
    if backbone in conditions.backbones:
        named = PurePath(models.get(backbone, backbone)).name
        words.append(", ".join(filter(None, (f"model {named}", parameters))))
    elif parameters:
        words.append(parameters)
    rows = run.data or {}
    counted = [f"{rows[split]:,} {split}" for split in ("train", "test") if rows.get(split)]
    if counted:
        other = " (other data)" if task in conditions.data else ""
        words.append(f"{' and '.join(counted)} rows{other}")
    training = (run.settings or {}).get("training") or {}
    if run.steps:
        words.append(f"{run.steps:,} steps of {training.get('batch_size', q.NOTHING)}")
    if training.get("precision"):
        words.append(str(training["precision"]))
    return "; ".join(words)
