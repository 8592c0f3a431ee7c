"""Workers as processes: warm, isolated, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tuneoff.errors import DataError, LedgerError
from tuneoff.running import orphans
from tuneoff.running.pool import Died, Pool
from tuneoff.running.single_job import attempt, result
from tuneoff.running.worker import Done, Failure, Job, Parts, Setup, job

HERE = "tests.running.test_workers"


def add(a: int, b: int, say: object) -> int:
    return a + b


def fail(kind: str, say: object) -> None:
    if kind == "memory":
        raise MemoryError("too much")
    if kind == "allocator":
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
    if kind == "user":
        raise DataError("rows.csv line 3: no label")
    if kind == "death":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise ValueError("a bug")


def threads_and_parent(say: object) -> tuple[int, int, bool]:
    import torch

    return torch.get_num_threads(), os.getpid(), "transformers" in sys.modules


def order(name: str, *arguments: object, parts: Parts = frozenset()) -> Job:
    return job(f"{HERE}:{name}", *arguments, parts=parts)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with Pool(2, Setup(tmp_path)) as made:
        yield made


def test_jobs_come_back_with_their_results(pool: Pool) -> None:
    assert attempt(pool, order("add", 2, 3)) == Done(5)
    threads, worker, warm = result(pool, order("threads_and_parent"), "asking", Path("logs"))
    assert threads == 1
    assert worker != os.getpid()
    assert warm


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("memory", "memory"), ("allocator", "memory"), ("user", "user"), ("bug", "crash")],
)
def test_what_a_job_raises_is_told_apart(pool: Pool, kind: str, expected: str) -> None:
    end = attempt(pool, order("fail", kind))
    assert isinstance(end, Failure)
    assert end.kind == expected
    assert "test_workers.py" in end.trace
    assert attempt(pool, order("add", 1, 1)) == Done(2)  # the worker lives on


def test_an_error_for_people_arrives_as_itself(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3"):
        result(pool, order("fail", "user"), "planning", tmp_path)


def test_a_death_is_named_and_the_worker_replaced(pool: Pool) -> None:
    end = attempt(pool, order("fail", "death"))
    assert end == Died("SIGSEGV", memory=False)
    assert attempt(pool, order("add", 1, 1)) == Done(2)


def test_a_warm_worker_starts_in_milliseconds(pool: Pool) -> None:
    """Against a cold one, which imports torch: the goal is 50 ms on an idle machine."""
    attempt(pool, order("add", 1, 1))
    spent = []
    for _ in range(5):
        pool.stop()
        began = time.perf_counter()
        attempt(pool, order("add", 1, 1))
        spent.append(time.perf_counter() - began)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, transformers.modeling_utils"], check=True)
    cold = time.perf_counter() - began
    assert min(spent) < cold / 5


SCRIPT = """
import sys, time
from pathlib import Path
from tuneoff.running.pool import Pool, Setup
from tuneoff.running.worker import job
print("started", flush=True)          # a script without a main guard must not run twice
with Pool(2, Setup(Path(sys.argv[1]))) as pool:
    for worker in pool.idle():
        pool.give(worker, job("tests.running.test_workers:sleep_long"), "x")
    time.sleep(2)
    print(*[worker.process.pid for worker in pool.workers], flush=True)
    time.sleep(600)
"""


def sleep_long(say: object) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end:  # as busy as training is
        sum(range(10_000))


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    assert all(psutil.pid_exists(pid) for pid in workers)
    process.kill()
    process.wait()
    orphans.wait_for_orphans(tmp_path)
    until = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_a_start_waits_for_orphans_and_says_when_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans.wait_for_orphans(tmp_path)  # none
    with Pool(1, Setup(tmp_path)) as made:
        attempt(made, order("add", 1, 1))
        monkeypatch.setattr(orphans, "_PATIENCE_SECONDS", 0.2)
        with pytest.raises(LedgerError, match="still running"):
            orphans.wait_for_orphans(tmp_path)
    orphans.wait_for_orphans(tmp_path)
