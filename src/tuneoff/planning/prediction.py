"""What is expected of one run before it trains: memory, time, and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    micro_batch_tokens: the largest pass that fits, None where a whole batch does; dequantized_gb:
    how much of 4-bit weights is kept in full too."""

    memory: Memory
    duration: Duration
    memory_bytes: int
    micro_batch_tokens: int | None = None
    reason: str | None = None
    dequantized_gb: float | None = None


def predict(
    spec: RunSpec, survey: Survey, machine: Machine, cost: Mapping[str, Any] | None = None
) -> Prediction:
    """cost: of the setting's profile, which knows better how long it takes."""
    backbone, data, method = survey.backbone(spec), survey.of_data(spec), survey.method(spec)
    base = memory.CUDA_CONTEXT_BYTES if machine.device == "cuda" else memory.PROCESS_BYTES
    room = int(machine.memory_bytes * _MARGIN) - base
    keep = dequantized_gb(spec, survey, machine)
    if cost is not None:
        time = duration.measured(spec, data, cost)
    else:
        time = duration.predict(spec, backbone, data, method, machine.flops, machine.device)
    batch = data.batch_tokens(spec.training.batch_size)
    tokens: int | None = None
    while True:
        needed = memory.predict(spec, backbone, data, method, tokens, keep or 0.0)
        if needed.total <= room:
            return Prediction(needed, time, base + needed.total, tokens, None, keep)
        if tokens == data.longest:
            break
        tokens = max((tokens or batch) // 2, data.longest)
    parts = {name: value for name, value in needed.to_json().items() if name != "total"}
    parts["the process itself"] = base
    largest = max(parts, key=lambda name: parts[name])
    reason = (
        f"needs {(base + needed.total) / 1e9:.1f} GB with one example at a time (most of it "
        f"{largest.replace('_', ' ')}, {parts[largest] / 1e9:.1f} GB), and "
        f"{machine.memory_bytes / 1e9:.1f} GB are free on this machine"
    )
    return Prediction(needed, time, base + needed.total, tokens, reason, keep)


def dequantized_gb(spec: RunSpec, survey: Survey, machine: Machine) -> float | None:
    """How much of 4-bit weights to keep in full as well (bit-equal, faster): what the study says,
    else all or nothing."""
    if spec.backbone.quantization not in ("nf4", "fp4"):
        return None
    given = spec.backbone.dequantized_cache_gb
    if given is not None:
        return given or None
    item = 4 if spec.backbone.compute_dtype == "float32" else 2
    sites = survey.backbone(spec).sites
    size = sum(item * site.inputs * site.outputs for site in sites if site.quantized)
    fits = size <= machine.memory_bytes * _CACHE_SHARE / max(1, machine.cores)
    return (size + 1_000_000) / 1e9 if fits else None
