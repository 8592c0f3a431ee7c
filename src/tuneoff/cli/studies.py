"""`tuneoff run` and `tuneoff plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    typer.Option(metavar="METHOD", help="Only this method of the study. May be repeated."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a setting, e.g. `training.epochs=1`. May be repeated.",
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
    loaded = _load(study, seeds, only, change, workers, device)
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
    change: Set = None,
    workers: Workers = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """What a study will run, and how long and how much memory it takes. Trains nothing."""
    _show_plan(_load(study, seeds, only, change, workers, device), json)


def _show_plan(study: Study, json: bool) -> None:
    from tuneoff.planning.plan import make_plan

    made = make_plan(study)
    if json:
        print_json(made.to_json())
    else:
        made.render(results(markup=True))


def _load(
    source: str,
    seeds: str | None,
    only: list[str] | None,
    change: list[str] | None,
    workers: int | None,
    device: str | None,
) -> Study:
    """The study with the command line's changes in it.

    Raises StudyError with every fault.
    """
    from tuneoff.study import load_study
    from tuneoff.study_changes import keep_methods, parse_changes

    changes: dict[str, Any] = parse_changes(change or [])
    if seeds is not None:
        numbers = [int(part) if part.strip().isdigit() else part for part in seeds.split(",")]
        changes["seeds"] = numbers[0] if len(numbers) == 1 else numbers
    if workers is not None:
        changes["budget.workers"] = workers
    if device is not None:
        changes["device"] = device
    study = load_study(source, changes)
    return keep_methods(study, only) if only else study
