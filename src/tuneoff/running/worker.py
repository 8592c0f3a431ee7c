"""A worker: a warm process that does one job after another and dies with its parent.

It is forked from a server that has torch loaded (see `pool.py`), so that starting one costs
milliseconds. A job is the name of a function and its arguments; the function gets a `say` with
which it shows signs of life. What a job raises goes to the parent as a `Failure`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from tuneoff import registry
from tuneoff.errors import TuneoffError

Say = Callable[[Any], None]
Parts = frozenset[tuple[registry.Kind, str]]
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True)
class Setup:
    """What a worker is given at its start: where it works, and how many threads it may use."""

    folder: Path
    """The study's folder; a worker holds a shared lock there while it lives."""
    threads: int = 1
    quantized: bool = False
    """Whether the fork server should have bitsandbytes loaded."""
    working_folder: str = field(default_factory=os.getcwd)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Job:
    """`function` is `module:name`; parts are plug-ins that the arguments hold instances of, which
    the worker must have imported before it can read them."""

    function: str
    arguments: bytes
    parts: Parts = frozenset()


@dataclass(frozen=True)
class Failure:
    """What a job raised: out of memory, an error for people, or anything else."""

    kind: Literal["memory", "user", "crash"]
    reason: str
    trace: str
    error: TuneoffError | None = None


@dataclass(frozen=True)
class Sign:
    """A sign of life of a job under way."""

    value: Any


@dataclass(frozen=True)
class Done:
    """A job's result."""

    value: Any


def job(function: str, *arguments: Any, parts: Parts = frozenset()) -> Job:
    """A job for a worker; the arguments must be picklable."""
    return Job(function, pickle.dumps(arguments), parts)


def main(connection: Connection, setup: Setup) -> None:
    """The life of a worker: jobs from the connection until it ends."""
    _die_with_parent()
    os.dup2(2, 1)  # stdout is for results, and a library's chatter is none
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(setup.environment)
    os.chdir(setup.working_folder)
    _claim(setup.folder)
    import torch

    torch.set_num_threads(setup.threads)
    jobs = _listen(connection)
    saying = threading.Lock()

    def send(message: Any) -> None:
        with saying:
            connection.send(message)

    while True:
        order = jobs.get()
        send(_do(order, lambda value: send(Sign(value))))


def _do(order: Job, say: Say) -> Done | Failure:
    try:
        for kind, name in sorted(order.parts):
            registry.get(kind, name)
        module, _, name = order.function.partition(":")
        function = getattr(importlib.import_module(module), name)
        return Done(function(*pickle.loads(order.arguments), say))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is the parent's to judge
        return _failure(error)


def _failure(error: Exception) -> Failure:
    trace = "".join(traceback.format_exception(error))
    text = f"{type(error).__name__}: {error}".strip().rstrip(":")
    if is_out_of_memory(error):
        return Failure("memory", text.splitlines()[0], trace)
    if isinstance(error, TuneoffError):
        return Failure("user", str(error), trace, error)
    return Failure("crash", text, trace)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch's CPU allocator raises a RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )


def _listen(connection: Connection) -> queue.SimpleQueue[Job]:
    """Jobs as they come. The end of the connection is the parent's death, and then this process
    ends at once, whatever it is doing: nobody is left to take its results."""
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                jobs.put(connection.recv())
            except (EOFError, OSError):
                os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return jobs


def _die_with_parent() -> None:
    """Asks the kernel for a kill when the fork server ends, which ends with the parent."""
    if sys.platform != "linux":
        return
    import ctypes
    from multiprocessing import forkserver

    server: Any = getattr(forkserver, "_forkserver", None)
    alive = getattr(server, "_forkserver_alive_fd", None)
    if isinstance(alive, int):  # an open copy here would keep the server alive after the parent
        with contextlib.suppress(OSError):
            os.close(alive)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _claim(folder: Path) -> None:
    """A shared lock for as long as this process lives; see `orphans.py`."""
    from tuneoff.running.orphans import claim

    claim(folder)
