"""What is expected of one run before it trains: memory, time, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass

from tuneoff.planning import duration, memory
from tuneoff.planning.duration import Duration
from tuneoff.planning.machine import Machine
from tuneoff.planning.memory import Memory
from tuneoff.planning.survey import Survey
from tuneoff.runs import RunSpec

_MARGIN = 0.9
"""Share of the free memory that a plan gives away."""
_CACHE_SHARE = 0.25
"""Share of the free memory that dequantized weights may take."""


@dataclass(frozen=True)
class Prediction:
    """memory_bytes: of the process (CPU) or of the device; reason: why it cannot run, or None;
    micro_batch_tokens: the largest pass that fits, None where a whole batch does."""

    memory: Memory
    duration: Duration
    memory_bytes: int
    micro_batch_tokens: int | None = None
    reason: str | None = None


def predict(spec: RunSpec, survey: Survey, machine: Machine, factor: float = 1.0) -> Prediction:
    """`factor`: measured over predicted training time, where the method was profiled."""
    backbone, data, method = survey.backbone(spec), survey.of_data(spec), survey.method(spec)
    base = memory.CUDA_CONTEXT_BYTES if machine.device == "cuda" else memory.PROCESS_BYTES
    room = int(machine.memory_bytes * _MARGIN) - base
    keep = keeps_dequantized(spec, survey, machine)
    time = duration.predict(spec, backbone, data, method, machine.flops, machine.device, factor)
    whole = memory.predict(spec, backbone, data, method, dequantized=keep)
    if whole.total <= room:
        return Prediction(whole, time, base + whole.total)
    tokens = data.batch_tokens(spec.training.batch_size) // 2
    while tokens >= data.longest:
        smaller = memory.predict(spec, backbone, data, method, tokens, keep)
        if smaller.total <= room:
            return Prediction(smaller, time, base + smaller.total, tokens)
        tokens //= 2
    least = memory.predict(spec, backbone, data, method, data.longest, keep)
    if least.total <= room:
        return Prediction(least, time, base + least.total, data.longest)
    needed, free = (base + least.total) / 1e9, machine.memory_bytes / 1e9
    parts = {name: value for name, value in least.to_json().items() if name != "total"}
    largest = max(parts, key=lambda name: parts[name])
    reason = (
        f"needs {needed:.1f} GB with one example at a time (most of it {largest.replace('_', ' ')},"
        f" {parts[largest] / 1e9:.1f} GB), and {free:.1f} GB are free on this machine"
    )
    return Prediction(least, time, base + least.total, data.longest, reason)


def keeps_dequantized(spec: RunSpec, survey: Survey, machine: Machine) -> bool:
    """Whether 4-bit weights are kept in full as well: bit-equal, faster, more memory."""
    if spec.backbone.quantization not in ("nf4", "fp4"):
        return False
    given = spec.backbone.dequantized_cache_gb
    if given is not None:
        return given > 0
    size = dequantized_bytes(spec, survey)
    return size <= machine.memory_bytes * _CACHE_SHARE / max(1, machine.cores)


def dequantized_bytes(spec: RunSpec, survey: Survey) -> int:
    """Bytes of all 4-bit weights in the compute type."""
    item = 4 if spec.backbone.compute_dtype == "float32" else 2
    sites = survey.backbone(spec).sites
    return sum(item * site.inputs * site.outputs for site in sites if site.quantized)
