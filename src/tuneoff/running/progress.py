"""Signs of life on stderr: what is under way, the last losses, and the time that is left.

A terminal gets one line that is written anew; anything else gets a plain line every some seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from tuneoff.planning.plan_table import minutes

_TERMINAL_SECONDS = 0.2
_PLAIN_SECONDS = 15.0


@dataclass
class Underway:
    """One cohort in a worker. share: of its steps, done; stage: what it does after them, in words;
    loss: the mean of its members' last."""

    label: str
    share: float = 0.0
    stage: str = ""
    loss: float | None = None
    started: float = field(default_factory=time.monotonic)


class Progress(Protocol):
    """What `run_study` tells while it works."""

    def phase(self, name: str) -> None:
        """A new part of the study begins: `planning`, `profiles`, `probes`, `runs`, ..."""

    def update(
        self, done: int, due: int, left_seconds: float | None, underway: Mapping[int, Underway]
    ) -> None:
        """Runs done and due in this phase, the predicted rest of the whole study, and what is
        under way now. Called often."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def close(self) -> None:
        """The end."""


class Quiet:
    """Says nothing but notes."""

    def phase(self, name: str) -> None:
        pass

    def update(
        self, done: int, due: int, left_seconds: float | None, underway: Mapping[int, Underway]
    ) -> None:
        pass

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        pass


class Lines:
    """Progress as text, to a terminal or a log."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last = 0.0
        self._phase = ""
        self._open = False

    def phase(self, name: str) -> None:
        self._phase, self._last = name, 0.0
        if not self._terminal:
            self._write(name)

    def update(
        self, done: int, due: int, left_seconds: float | None, underway: Mapping[int, Underway]
    ) -> None:
        pause = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        if time.monotonic() - self._last < pause:
            return
        self._last = time.monotonic()
        text = f"{self._phase} {done}/{due}"
        if left_seconds is not None:
            text += f" · about {minutes(left_seconds)} left"
        for one in underway.values():
            loss = "" if one.loss is None else f" loss {one.loss:.3f}"
            text += f" · {one.label} {one.stage or f'{one.share:.0%}{loss}'}"
        if self._terminal:
            import shutil

            width = shutil.get_terminal_size().columns - 1
            shown = text if len(text) <= width else text[: width - 1] + "…"
            self._stream.write(f"\r\x1b[2K{shown}")
            self._stream.flush()
            self._open = True
        else:
            self._write(text)

    def note(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        if self._open:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._open = False

    def _write(self, text: str) -> None:
        self.close()
        self._stream.write(f"{text}\n")
        self._stream.flush()
