"""What this machine has: cores, memory, a GPU, and its measured rate of matrix products."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_RATE_SECONDS = 0.3
_ROWS, _WIDTH = 512, 768


@dataclass(frozen=True)
class Machine:
    """device: `cpu` or `cuda`; memory_bytes: free for training, on the GPU or in the container;
    flops: matrix products per second, one thread on a CPU."""

    device: str
    name: str
    cores: int
    gpus: int
    memory_bytes: int
    flops: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(device: str, memory_gb: float | None = None) -> Machine:
    """This machine; takes about 0.3 s. `memory_gb`: a person's own limit."""
    import torch

    gpus = torch.cuda.device_count() if device == "cuda" else 0
    name = torch.cuda.get_device_name(0) if gpus else _processor()
    free = torch.cuda.mem_get_info(0)[0] if gpus else free_memory()
    limit = free if memory_gb is None else min(free, int(memory_gb * 1e9))
    return Machine(device, name, cores(), gpus, limit, _rate(device))


def cores() -> int:
    """Cores that this process may use: its affinity, and the container's share of time.

    Source: Linux cgroup v2 `cpu.max`.
    """
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return max(1, count)


def free_memory() -> int:
    """Bytes that can be had without swapping: of the machine, or of the container if less.

    Source: `/proc/meminfo` MemAvailable; cgroup v2 `memory.max` less `memory.current`, of which
    the page cache counts as free.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                used -= int(line.split()[1])
        free = min(free, max(0, limit - used))
    return free


def _rate(device: str) -> float:
    """Operations per second of float32 products of the shape that a small batch makes."""
    import torch

    x = torch.ones((_ROWS, _WIDTH), device=device)
    weight = torch.ones((_WIDTH, _WIDTH), device=device)
    best = 0.0
    until = time.perf_counter() + _RATE_SECONDS
    repeats = 8 if device == "cpu" else 200
    while time.perf_counter() < until:
        started = time.perf_counter()
        for _ in range(repeats):
            torch.mm(x, weight)
        if device == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - started
        best = max(best, repeats * 2.0 * _ROWS * _WIDTH * _WIDTH / spent)
    return best


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    import platform

    return platform.processor() or platform.machine()
