"""`tuneoff list`, `tuneoff show` and `tuneoff schema`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tuneoff.cli.terminal import Json, print_json, results

if TYPE_CHECKING:
    from tuneoff.catalog import Entry, Setting


def list_parts(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="methods, tasks, datasets, metrics, recipes or backbones.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """What a study may name: methods, tasks, datasets, metrics, recipes, backbones."""
    from tuneoff import catalog
    from tuneoff.errors import TuneoffError
    from tuneoff.registry import nearest

    if kind is not None and kind not in catalog.KINDS:
        allowed = list(catalog.KINDS)
        raise TuneoffError(
            f"there is no kind {kind!r}{nearest(kind, allowed) or '.'} Kinds: {', '.join(allowed)}"
        )
    kinds = [kind] if kind else list(catalog.KINDS)
    found = {one: catalog.summaries(one) for one in kinds}
    if json:
        print_json(found)
        return
    from rich.padding import Padding
    from rich.table import Table

    console = results()
    width = max((len(name) for summaries in found.values() for name in summaries), default=0)
    for one, summaries in found.items():
        console.print(one.capitalize(), style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="cyan", no_wrap=True, min_width=width)
        table.add_column()
        for name, summary in summaries.items():
            table.add_row(name, summary)
        console.print(Padding(table, (0, 0, 1, 2)))
    console.print("`tuneoff show NAME` says more about one of them.", style="dim")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A part, recipe or backbone.")],
    json: Json = False,
) -> None:
    """What a method, task, dataset, metric, recipe or backbone is, and its settings."""
    from tuneoff import catalog

    entries = catalog.find(name)
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    console = results()
    for number, entry in enumerate(entries):
        if number:
            console.print()
        if entry.kind == "recipes":
            typer.echo(entry.text.rstrip())
            continue
        console.print(f"{entry.name} ({entry.kind[:-1]})", style="bold")
        console.print()
        console.print(_reflowed(entry.text))
        if entry.kind in ("methods", "tasks", "datasets", "metrics"):
            _show_settings(entry)


def _reflowed(text: str) -> str:
    """Paragraphs without their line breaks, so that the terminal breaks them; code stays."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        part if any(line[:1] in " -#|" for line in part.splitlines()) else " ".join(part.split())
        for part in paragraphs
    )


def _show_settings(entry: Entry) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = results()
    console.print()
    if entry.settings:
        console.print("Settings", style="bold")
        for setting in entry.settings:
            console.print(Padding(_headline(setting), (0, 0, 0, 2)))
            if setting.about:
                console.print(Padding(Text(setting.about), (0, 0, 0, 6)))
    else:
        console.print("It has no settings.")
    if entry.rates:
        console.print()
        console.print("Learning rates", style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        for kind, rates in entry.rates.items():
            grid = ", ".join(f"{rate:g}" for rate in rates["grid"])
            words = kind.replace("_", "-")
            table.add_row(words, f"{rates['default']:g}", f"probed: {grid}")
        console.print(Padding(table, (0, 0, 0, 2)))


def _headline(setting: Setting) -> str:
    """`rank: 8   (whole number >= 1)`, as it stands in a study."""
    import yaml

    if setting.required:
        return f"{setting.name}: required   ({setting.type})"
    value = yaml.safe_dump(setting.default, default_flow_style=True, width=1000)
    shown = value.removesuffix("\n").removesuffix("\n...")
    return f"{setting.name}: {shown}   ({setting.type})"


def schema() -> None:
    """Print the JSON Schema of a study, for editors."""
    from tuneoff.study_schema import json_schema

    print_json(json_schema())
