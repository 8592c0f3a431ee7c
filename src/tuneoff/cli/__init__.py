"""The command `tuneoff`. Results go to stdout, all else to stderr.

Nothing heavy is imported before a command runs: `tuneoff --help` answers at once.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from tuneoff.cli import about, inspection, results, studies
from tuneoff.errors import TuneoffError

app = typer.Typer(
    name="tuneoff",
    help="A fair contest between fine-tuning methods, on your model, data and hardware.",
    epilog="Begin with `tuneoff run`: the quick start needs no model, no data and no network.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_STOPPED = 130  # by the person: no error

_CONTEST, _RESULTS, _ABOUT = "The contest", "What it leaves", "What there is"
app.command("init", rich_help_panel=_CONTEST)(inspection.init)
app.command("plan", rich_help_panel=_CONTEST)(studies.plan)
app.command("run", rich_help_panel=_CONTEST)(studies.run)
app.command("report", rich_help_panel=_RESULTS)(results.report)
app.command("predict", rich_help_panel=_RESULTS)(results.predict)
app.command("export", rich_help_panel=_RESULTS)(results.export)
app.command("list", rich_help_panel=_ABOUT)(about.list_parts)
app.command("show", rich_help_panel=_ABOUT)(about.show)
app.command("schema", rich_help_panel=_ABOUT)(about.schema)
app.command("doctor", rich_help_panel=_ABOUT)(inspection.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        from tuneoff import __version__

        typer.echo(f"tuneoff {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; what a person can act on is printed without a traceback."""
    try:
        app()
    except TuneoffError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror}{where}", 1)


def _fail(message: str, code: int) -> None:
    # Plain print: a path or a value of the person's may look like markup.
    text = message if code == _STOPPED else f"error: {message}"
    print(text, file=sys.stderr)  # noqa: T201 - the command's own voice
    sys.exit(code)
