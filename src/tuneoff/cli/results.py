"""`tuneoff report`, `tuneoff predict` and `tuneoff export`."""

from __future__ import annotations

from json import loads as json_of
from pathlib import Path
from typing import Annotated, Any

import typer

from tuneoff.cli.terminal import Json, messages, print_json, results

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Results folder of a study.")]


def report(folder: Folder, json: Json = False) -> None:
    """Judge a study's results again, write its report, and print the verdict."""
    from tuneoff.report import write_report
    from tuneoff.report.terminal import print_verdict
    from tuneoff.verdict import make_verdict

    make_verdict(folder, *_asked_for(folder))
    written = write_report(folder)
    if json:
        print_json([str(path) for path in written])
        return
    print_verdict(folder, results())
    for path in written:
        messages().print(f"wrote {path}", soft_wrap=True)


def _asked_for(folder: Path) -> tuple[float, list[str] | None]:
    """The study's confidence level, and its runs where the plan has settled on them."""
    from tuneoff import study_text
    from tuneoff.errors import LedgerError
    from tuneoff.study import Comparison

    if not (folder / "results.jsonl").is_file():
        raise LedgerError(
            f"{folder} holds no results (no results.jsonl); name the folder that "
            "`tuneoff run --out` was given"
        )
    comparison: Any = {}
    if (study := folder / "study.yaml").is_file():
        comparison = study_text.read(study.read_text("utf-8"), str(study)).data.get("comparison")
    plan: Any = {}
    if (file := folder / "plan.json").is_file():
        plan = json_of(file.read_text("utf-8"))
    runs = [run["run_id"] for run in plan.get("runs", ()) if run["kind"] == "run"]
    level = (comparison or {}).get("confidence", Comparison().confidence)
    return level, runs if plan.get("final") else None


def predict(
    model: Annotated[Path, typer.Argument(metavar="WINNER", help="Folder of a saved model.")],
    input: Annotated[
        Path,
        typer.Option("--input", "-i", metavar="FILE", help="CSV, TSV, JSON, JSONL or Parquet."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to. [default: stdout]"),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Copy this column of the input. May be repeated."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Rows at a time.")] = 32,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")] = "auto",
    backbone: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the backbone lies now.", show_default=False),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="JSON lines on stdout, in place of CSV.")
    ] = False,
) -> None:
    """Predict new rows with a winner: `tuneoff predict DIR/winner --input new.csv`."""
    from tuneoff.winner.predict import predict as predict_rows

    done = predict_rows(
        model,
        input,
        output,
        batch_size=batch_size,
        device=device,
        backbone=backbone,
        keep=keep or (),
        stream_format="jsonl" if json else "csv",
    )
    where = f" to {output}" if output else ""
    messages().print(f"{done.rows} rows{where} in {done.seconds:.1f} s", soft_wrap=True)


def export(
    folder: Folder,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where to.  [default: DIR/winner]"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="This method's best run, in place of the verdict's."),
    ] = None,
    merge: Annotated[
        bool | None,
        typer.Option(
            "--merge/--no-merge",
            help="Save the merged model too.  [default: where it is cheap]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu or cuda.")] = "auto",
    json: Json = False,
) -> None:
    """Save the winner of a study, and check that what was saved predicts the same."""
    from tuneoff.winner.export import export_winner

    saved = export_winner(folder, method=method, to=to, merge=merge, device=device)
    if json:
        print_json({"winner": str(saved)})
    else:
        results().print(str(saved), soft_wrap=True)
