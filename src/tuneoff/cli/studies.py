"""`tuneoff run` and `tuneoff plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tuneoff.cli.terminal import Json, print_json, results

if TYPE_CHECKING:
    from tuneoff.study import Study

QUICKSTART = "quickstart"

StudyName = Annotated[
    str, typer.Argument(metavar="[STUDY]", help="A study file (YAML), or the name of a recipe.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Results folder. [default: runs/STUDY'S NAME]"),
]
Seeds = Annotated[
    str | None,
    typer.Option(metavar="N", help="How many seeds, or which: `5`, or `0,7`.", show_default=False),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORDS",
        help="Only this part: names of methods, backbones, tasks, `bert,qlora`. May be repeated.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a setting, e.g. `training.epochs=1`. May be repeated.",
    ),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME=FOLDER",
        help="Another model in the place of the study's NAME. May be repeated.",
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="NAME=FOLDER",
        help="Other data in the place of the study's NAME: a folder, or files. May be repeated.",
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        metavar="SCALE",
        help="smoke, small or full: caps on rows, steps, seeds and lengths.",
        show_default=False,
    ),
]
Fair = Annotated[
    bool,
    typer.Option(
        "--fair", help="Equal training, rates searched for each method, at least 3 seeds."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes side by side.", show_default=False)
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.", show_default=False)
]


def run(
    study: StudyName = QUICKSTART,
    out: Out = None,
    seeds: Seeds = None,
    only: Only = None,
    backbone: Backbones = None,
    data: Data = None,
    scale: Scale = None,
    fair: Fair = False,
    change: Set = None,
    workers: Workers = None,
    device: Device = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan, but train nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Try what is predicted not to fit in memory.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run again what failed or ran out of memory.")
    ] = False,
    json: Json = False,
) -> None:
    """Run a study to its verdict, report and winner. Run it again to go on after a stop.

    Without STUDY: the quick start, on the built-in model and data.
    """
    loaded = _load(
        study, _Changes(seeds, only, backbone, data, scale, fair, change, workers, device)
    )
    if dry_run:
        _show_plan(loaded, json)
        return
    folder = out or Path("runs") / loaded.name
    from tuneoff.running.study_run import run_study

    run_study(loaded, folder, force=force, retry=retry)
    if json:
        typer.echo((folder / "verdict.json").read_text(encoding="utf-8"))
        return
    from tuneoff.report.terminal import print_verdict

    print_verdict(folder, results())


def plan(
    study: StudyName = QUICKSTART,
    seeds: Seeds = None,
    only: Only = None,
    backbone: Backbones = None,
    data: Data = None,
    scale: Scale = None,
    fair: Fair = False,
    change: Set = None,
    workers: Workers = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """What a study will run, and how long and how much memory it takes. Trains nothing."""
    asked = _Changes(seeds, only, backbone, data, scale, fair, change, workers, device)
    _show_plan(_load(study, asked), json)


def _show_plan(study: Study, json: bool) -> None:
    from tuneoff.planning.plan import make_plan

    made = make_plan(study)
    if json:
        print_json(made.to_json())
    else:
        made.render(results(markup=True))


class _Changes(NamedTuple):
    """What the command line changes in a study."""

    seeds: str | None
    only: list[str] | None
    backbones: list[str] | None
    data: list[str] | None
    scale: str | None
    fair: bool
    settings: list[str] | None
    workers: int | None
    device: str | None


def _load(source: str, asked: _Changes) -> Study:
    """The study with the command line's changes in it: a part of it first, its scale last.

    Raises StudyError with every fault, DataError for data that does not fit.
    """
    from tuneoff.recast import fair, only, places, scale
    from tuneoff.study import load_study
    from tuneoff.study_changes import parse_changes

    changes: dict[str, Any] = parse_changes(asked.settings or [])
    seeds: dict[str, Any] = {}
    if asked.seeds is not None:
        parts = asked.seeds.split(",")
        numbers = [int(part) if part.strip().isdigit() else part for part in parts]
        seeds["seeds"] = numbers[0] if len(numbers) == 1 else numbers
    if asked.workers is not None:
        changes["budget.workers"] = asked.workers
    if asked.device is not None:
        changes["device"] = asked.device
    study = load_study(source, changes | seeds)
    if asked.settings and study.publication:
        conditions = study.conditions.model_copy(update={"settings": tuple(asked.settings)})
        study = study.model_copy(update={"conditions": conditions})
    if asked.only:
        study = only.kept(study, asked.only)
    if asked.backbones:
        study = places.with_backbones(study, places.pairs("--backbone", asked.backbones))
    if asked.data:
        study = places.with_data(study, places.pairs("--data", asked.data))
    if asked.fair:
        study = fair.fair(study)
    if asked.scale:
        study = scale.scaled(study, asked.scale)
    if seeds and study.seeds != (wanted := load_study(study.written(), seeds)).seeds:
        study = wanted  # a number of seeds that a person gives is no more capped than raised
    return study
