"""Peak memory against a known allocation, by the kernel's mark and by samples."""

from __future__ import annotations

import mmap

import pytest

from tuneoff.running import peak_memory
from tuneoff.running.peak_memory import PeakMeter, resident_bytes

SIZE = 64 << 20


def touch(size: int) -> None:
    """Makes so many bytes resident, and lets them go."""
    block = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        block[place] = 1
    block.close()


@pytest.mark.parametrize("kernel", [True, False])
def test_a_peak_that_is_over_is_seen(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.setattr(peak_memory, "_reset_kernel_peak", lambda: False)
    meter = PeakMeter("cpu")
    meter.start()
    before = resident_bytes()
    touch(SIZE)
    peak = meter.read()
    assert peak.used - before > 0.7 * SIZE  # samples may miss the very top
    assert peak.reserved is None
    meter.start()
    assert meter.read().used - before < 0.5 * SIZE  # an earlier peak is forgotten
