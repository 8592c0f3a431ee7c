"""What is expected of one run before it trains: memory, time, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tuneoff.planning import duration, memory
from tuneoff.planning.duration import Duration
from tuneoff.planning.facts import DataFacts, Survey
from tuneoff.planning.machine import Machine
from tuneoff.planning.memory import Batches, Memory
from tuneoff.runs import RunSpec

_MARGIN = 0.9
"""Share of the free memory that a plan gives away."""
_CACHE_SHARE = 0.25
"""Share of the free memory that dequantized weights may take."""


@dataclass(frozen=True)
class Prediction:
    """memory_bytes: of the process (CPU) or of the device; reason: why it cannot run, or None;
    batches: the largest passes that fit; dequantized_gb: how much of 4-bit weights is kept in full
    too."""

    memory: Memory
    duration: Duration
    memory_bytes: int
    batches: Batches
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

    def needed(batches: Batches) -> Memory:
        return memory.predict(spec, backbone, data, method, batches, keep or 0.0)

    batches = _fitting(needed, spec, data, room)
    least = needed(batches)
    reason = None if least.total <= room else _too_large(least, base, machine)
    return Prediction(least, time, base + least.total, batches, reason, keep)


def _fitting(
    needed: Callable[[Batches], Memory], spec: RunSpec, data: DataFacts, room: int
) -> Batches:
    """Training, evaluation and generation come one after another, so that the passes of each are
    halved for itself, until they fit or are a single example."""

    def fits(batches: Batches, work: str) -> bool:
        found = needed(batches)
        return found.total_of(getattr(found, work)) <= room

    batches, least = Batches(), data.longest
    while not fits(batches, "activations") and batches.training != least:
        tokens = batches.training or data.batch_tokens(spec.training.batch_size)
        batches = replace(batches, training=max(tokens // 2, least))
    while not fits(batches, "evaluation") and batches.evaluation > least:
        batches = replace(batches, evaluation=max(batches.evaluation // 2, least))
    asked = data.generation
    least = (asked.longest + asked.new_tokens) * asked.beams if asked else batches.generation
    while not fits(batches, "generation") and batches.generation > least:
        batches = replace(batches, generation=max(batches.generation // 2, least))
    return batches


def _too_large(needed: Memory, base: int, machine: Machine) -> str:
    """Why a run cannot be, in a sentence."""
    parts = {name: value for name, value in needed.to_json().items() if name != "total"}
    parts["the process itself"] = base
    largest = max(parts, key=lambda name: parts[name])
    return (
        f"needs {(base + needed.total) / 1e9:.1f} GB with one example at a time (most of it "
        f"{largest.replace('_', ' ')}, {parts[largest] / 1e9:.1f} GB), and "
        f"{machine.memory_bytes / 1e9:.1f} GB are free on this machine"
    )


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
