"""Warm workers: started in milliseconds from a fork server that has the heavy modules loaded.

    with Pool(2, Setup(folder)) as pool:
        pool.give(pool.idle[0], job("module:function", 1), tag="a")
        for worker, message in pool.listen(1.0): ...

The parent itself never imports torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuneoff.running.worker import Done, Failure, Job, Setup, Sign, main

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SERVER_ENVIRONMENT = {
    **dict.fromkeys(_ONE_THREAD, "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # its own one has a thread, and threads do not fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # the other check starts CUDA, which cannot fork
}


@dataclass(frozen=True)
class Died:
    """A worker ended without a word. `cause`: `SIGKILL`, or its exit status; `memory`: the kernel
    says that it killed for memory meanwhile."""

    cause: str
    memory: bool


@dataclass
class Worker:
    """One process; `tag` is what it was given to do, None when it is idle; `holds` names the
    material that it has loaded."""

    process: Any
    connection: multiprocessing.connection.Connection
    tag: Any = None
    holds: str = ""
    gpu: int | None = None
    _kills: int = field(default_factory=lambda: memory_kills())


Message = Sign | Done | Failure | Died


class Pool:
    """Up to `size` workers, started when they are needed; with `gpus`, each sees one of them."""

    def __init__(self, size: int, setup: Setup):
        self.size, self._setup = size, setup
        self.gpus = 0
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def idle(self, most: int | None = None) -> list[Worker]:
        """Workers without a job; new ones join while there are fewer than `most` (`size`)."""
        while len(self.workers) < (most or self.size):
            self.workers.append(self._start())
        return [worker for worker in self.workers if worker.tag is None]

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.tag is not None]

    def give(self, worker: Worker, order: Job, tag: Any) -> None:
        """A job for an idle worker; a death on the way shows in `listen`."""
        assert worker.tag is None
        worker.tag = tag
        with contextlib.suppress(OSError):
            worker.connection.send(order)

    def listen(self, seconds: float) -> Iterator[tuple[Worker, Any, Message]]:
        """(worker, tag, message) as they come, for at most so long a wait. After any message but a
        `Sign` the worker is idle, or gone."""
        waiting: dict[Any, Worker] = {worker.connection: worker for worker in self.workers}
        waiting |= {worker.process.sentinel: worker for worker in self.workers}
        ready = multiprocessing.connection.wait(list(waiting), seconds)
        for worker in {id(waiting[one]): waiting[one] for one in ready}.values():
            yield from self._hear(worker)

    def _hear(self, worker: Worker) -> Iterator[tuple[Worker, Any, Message]]:
        while True:
            try:
                if not worker.connection.poll():
                    if worker.process.exitcode is None:
                        return
                    raise EOFError
                message = worker.connection.recv()
            except (EOFError, OSError):
                tag = worker.tag
                died = self._bury(worker)
                if tag is not None:
                    yield worker, tag, died
                return
            tag = worker.tag
            if not isinstance(message, Sign):
                worker.tag = None
            yield worker, tag, message
            if worker not in self.workers:
                return

    def end(self, worker: Worker) -> None:
        """Ends one worker; the next that is needed is a fresh process."""
        worker.process.kill()
        self._bury(worker)

    def stop(self) -> None:
        """Ends all workers at once."""
        for worker in list(self.workers):
            worker.process.kill()
        for worker in list(self.workers):
            self._bury(worker)

    def _bury(self, worker: Worker) -> Died:
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        code = worker.process.exitcode
        cause = f"exit status {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                cause = signal.Signals(-code).name
        killed = cause == "SIGKILL" and memory_kills() > worker._kills
        return Died(cause, killed)

    def _start(self) -> Worker:
        context: Any = multiprocessing.get_context(
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        if hasattr(context, "set_forkserver_preload"):
            quantized = ["tuneoff.running.warm_quantized"] if self._setup.quantized else []
            context.set_forkserver_preload(["tuneoff.running.warm", *quantized])
        ours, theirs = context.Pipe()
        gpu = self._free_gpu()
        setup = replace(self._setup, environment={**os.environ, **_visible(gpu)})
        process = context.Process(target=main, args=(theirs, setup), daemon=True)
        with _without_main_module(), _environment(_SERVER_ENVIRONMENT):
            process.start()
        theirs.close()
        return Worker(process, ours, gpu=gpu)

    def _free_gpu(self) -> int | None:
        """The first GPU that no worker has; None where there is none to share out."""
        taken = {worker.gpu for worker in self.workers}
        return next((gpu for gpu in range(self.gpus) if gpu not in taken), None)


def _visible(gpu: int | None) -> dict[str, str]:
    """The environment in which a process sees one GPU, counted among those that we see."""
    if gpu is None:
        return {}
    ours = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = ours.split(",") if ours else [str(number) for number in range(gpu + 1)]
    return {"CUDA_VISIBLE_DEVICES": names[gpu]}


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keeps multiprocessing from importing the caller's script in every worker: it costs time, and
    a script without `if __name__ == "__main__"` would run again."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The environment in which the fork server starts: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def memory_kills() -> int:
    """How many processes the kernel has killed for memory so far; 0 where it does not say.

    Source: Linux cgroup v2 `memory.events` and `/proc/vmstat`, both `oom_kill`.
    """
    count = 0
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError):
            for line in Path(path).read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    count += int(value)
    return count
