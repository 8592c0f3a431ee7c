"""Peak memory between two moments: resident on a CPU, allocated and reserved on CUDA.

On Linux the kernel keeps the highest resident size (`VmHWM` in `/proc/self/status`), and writing 5
to `/proc/self/clear_refs` sets it back to the present (proc(5)). Elsewhere, and where that is not
allowed, a thread samples the resident size every few milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.002
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peak:
    """Bytes. reserved: by PyTorch's allocator on CUDA; None on a CPU."""

    used: int
    reserved: int | None = None


class PeakMeter:
    """From `start` to `read`."""

    def __init__(self, device: str):
        self._cuda = device.startswith("cuda")
        self._sampler: _Sampler | None = None

    def start(self) -> None:
        """Forget earlier peaks; memory that was freed is given back first, as far as it can be."""
        settle(self._cuda)
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        elif not _reset_kernel_peak():
            self._sampler = _Sampler()

    def read(self) -> Peak:
        """The highest since `start`."""
        if self._cuda:
            import torch

            return Peak(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())
        if self._sampler is not None:
            peak = self._sampler.stop()
            self._sampler = None
            return Peak(peak)
        return Peak(_status("VmHWM"))


def resident_bytes() -> int:
    """Resident memory of this process now."""
    if _STATUS.exists():
        return _status("VmRSS")
    import psutil

    return int(psutil.Process().memory_info().rss)


def settle(cuda: bool = False) -> None:
    """Gives freed memory back to the system, so that it does not hide what comes next."""
    gc.collect()
    if cuda:
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)


def _reset_kernel_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {name}")


class _Sampler:
    def __init__(self) -> None:
        self._peak = resident_bytes()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, resident_bytes())

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return max(self._peak, resident_bytes())
