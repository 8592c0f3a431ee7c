"""Workers of a killed parent: a new one waits until the last of them is gone.

Each worker holds a shared lock on `DIR/.workers`; who can take it alone knows that none is left.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tuneoff.errors import LedgerError

_NAME = ".workers"
_PATIENCE_SECONDS = 20.0
_held: list[int] = []

if sys.platform == "win32":

    def claim(folder: Path) -> None:
        """Nothing: a worker on Windows ends with the pipe to its parent."""

    def wait_for_orphans(folder: Path) -> None:
        """Nothing, as `claim`."""
else:
    import fcntl

    def claim(folder: Path) -> None:
        """Hold the shared lock until this process ends."""
        file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT)
        fcntl.flock(file, fcntl.LOCK_SH)
        _held.append(file)

    def wait_for_orphans(folder: Path) -> None:
        """Returns when no worker of an earlier start lives.

        Raises LedgerError when one still does after some seconds.
        """
        file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT)
        try:
            until = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise LedgerError(
                            f"{folder}: a worker of an earlier start is still running; wait for it "
                            f"or end it (`fuser {folder / _NAME}` names it), then try again"
                        ) from None
                    time.sleep(0.02)
                else:
                    return
        finally:
            os.close(file)
