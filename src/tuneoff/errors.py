"""The errors that people see.

Each says what is wrong, where, what is allowed, what was found and what to do next.
The command line prints the text alone; a traceback means a defect of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class TuneoffError(Exception):
    """Any failure that a person can act on; `exit_code` is the command's exit status."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One fault of a study: `path` like `methods[2].lora.rank`, and a sentence with the remedy."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class StudyError(TuneoffError):
    """Every fault of a study at once; `problems` holds them in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem], source: str = "study"):
        self.problems = list(problems)
        self.source = source
        count = len(self.problems)
        lines = [f"{source}: {count} problem{'s' if count != 1 else ''}"]
        lines += [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class DataError(TuneoffError):
    """Rows that cannot be read or used."""

    exit_code = 3


class BackboneError(TuneoffError):
    """A model or tokenizer that cannot be found, loaded or adapted."""

    exit_code = 4


class LedgerError(TuneoffError):
    """A results folder that is damaged, locked or of another study."""

    exit_code = 5
