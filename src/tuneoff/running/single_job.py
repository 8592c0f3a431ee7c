"""One job on one worker, waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneoff.errors import TuneoffError
from tuneoff.running.pool import Died, Pool
from tuneoff.running.worker import Done, Failure, Job, Sign


def attempt(pool: Pool, order: Job) -> Done | Failure | Died:
    """The end of a job, whatever it is."""
    worker = pool.idle(1)[0]
    pool.give(worker, order, order.function)
    while True:
        for _, _, message in pool.listen(1.0):
            if not isinstance(message, Sign):
                return message


def result(pool: Pool, order: Job, what: str, logs: Path) -> Any:
    """The result of a job.

    Raises the TuneoffError that the job raised, or one that says where the traceback lies.
    """
    end = attempt(pool, order)
    if isinstance(end, Done):
        return end.value
    if isinstance(end, Failure) and end.error is not None:
        raise end.error
    if isinstance(end, Failure):
        path = logs / f"{what}.log"
        logs.mkdir(exist_ok=True)
        path.write_text(end.trace, encoding="utf-8")
        raise TuneoffError(
            f"{what} failed: {end.reason}. The traceback is in {path}; "
            f"{'free some memory' if end.kind == 'memory' else 'please report it'}"
        )
    more = ", by the kernel, for memory" if end.memory else ""
    raise TuneoffError(f"{what}: its worker died ({end.cause}{more}); run the same command again")
