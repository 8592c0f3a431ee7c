"""Where the command prints: results to stdout, all else to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def results(markup: bool = False) -> Console:
    """For what was asked for; 80 columns wide where there is no terminal.

    markup: for text that is wholly ours; a person's own may hold brackets.
    """
    from rich.console import Console

    return Console(highlight=False, markup=markup, width=None if sys.stdout.isatty() else 80)


def messages() -> Console:
    """For progress, warnings and hints."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def print_json(data: Any) -> None:
    """Plain JSON on stdout, never wrapped."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
