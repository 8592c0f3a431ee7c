"""`tuneoff init` and `tuneoff doctor`: looks at a person's data and machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tuneoff.cli.terminal import Json, messages, print_json, results

_MARKS = {"ok": ("ok", "green"), "limited": ("limited", "yellow"), "broken": ("broken", "red")}
_SCHEMA = "study.schema.json"


def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, TSV, JSON, JSONL or Parquet with texts.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="STUDY", help="The study file to write.")
    ] = Path("study.yaml"),
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Built-in name, folder or hub name; a built-in one that fits the task else.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="The column of text. May be repeated."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of labels.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a study that is there.")] = False,
) -> None:
    """Look at a data file and write a study for it."""
    import json

    from tuneoff.errors import TuneoffError
    from tuneoff.init import look
    from tuneoff.init_answers import answered_findings, look_for_answers
    from tuneoff.init_study import answered_study, findings, study_text
    from tuneoff.study import load_study
    from tuneoff.study_schema import json_schema
    from tuneoff.whole_file import write_whole

    if out.exists() and not force:
        raise TuneoffError(f"{out} is there already; choose another --out, or add --force")
    answered = None if text or label else look_for_answers(file)
    folder = out.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    writes = answered is not None and answered.task != "question_answering"
    model = model or ("mini-gpt2" if writes else "mini-bert")
    model = str(Path(model).expanduser().absolute()) if Path(model).is_dir() else model
    if answered is not None:
        written = answered_study(answered, model, folder, _SCHEMA)
        said = answered_findings(answered)
    else:
        found = look(file, text or (), label)
        written, said = study_text(found, model, folder, _SCHEMA), findings(found)
    write_whole(folder / _SCHEMA, json.dumps(json_schema(), indent=1))
    write_whole(out, written)
    load_study(out)
    for line in said:
        results().print(line, soft_wrap=True)
    messages().print(f"wrote {out} and {_SCHEMA}; next: tuneoff run {out}", soft_wrap=True)


def doctor(json: Json = False) -> None:
    """What this machine can run, what is missing, and the remedy."""
    from tuneoff.doctor import Check, checks, fails

    found: list[Check] = []
    console = results()
    for check in checks():
        found.append(check)
        if not json:
            word, colour = _MARKS[check.status]
            _print_row(check.name, word, colour, check.found)
            if check.remedy:
                _print_row("", "", "", f"-> {check.remedy}")
    if json:
        print_json([asdict(check) for check in found])
    elif not fails(found):
        console.print("tuneoff can run here.")
    if fails(found):
        raise typer.Exit(1)


def _print_row(name: str, word: str, colour: str, text: str) -> None:
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=10)
    row.add_column(width=7)
    row.add_column(overflow="fold")
    row.add_row(Text(name), Text(word, style=colour), Text(text))
    results().print(row)
