"""The solo cost of every method setting, and the `cost` of a run that is reckoned from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneoff import identity
from tuneoff.runs import RunSpec

COSTS = (
    "trainable_parameters",
    "total_parameters",
    "load_seconds",
    "train_seconds",
    "evaluation_seconds",
    "step_seconds",
    "tokens_per_second",
    "peak_memory_bytes",
    "peak_reserved_bytes",
    "adapter_bytes",
    "inference_seconds_per_example",
    "inference_peak_memory_bytes",
)
_MORE = (
    "weights_bytes",
    "process_bytes",
    "peak_resident_bytes",
    "prefix_cache_bytes",
    "prefix_seconds",
    "generation_seconds_per_example",
    "busy",
    "with_dequantized_cache",
)


def profile_id(spec: RunSpec, machine: str) -> str:
    """Names the cost of a setting on a machine: whatever the rate and the seed are."""
    return (
        "p"
        + identity.digest(
            {
                "contest": list(spec.contest),
                "backbone": [spec.backbone.in_force(), spec.backbone_fingerprint],
                "task": spec.task.model_dump(mode="json"),
                "data": spec.data_fingerprint,
                "method": [
                    spec.method.method,
                    spec.method.settings.model_dump(mode="json", exclude={"learning_rate"}),
                ],
                "training": spec.training.in_force(),
                "code": spec.code,
                "machine": [spec.device, machine],
            }
        )[:15]
    )


def profile_record(
    spec: RunSpec,
    machine: str,
    cost: Mapping[str, Any] | None,
    reason: str | None,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """A line of `profiles.jsonl`; cost is None where the profile did not come to its end."""
    return {
        "run_id": profile_id(spec, machine),
        "backbone": spec.backbone.name,
        "task": spec.task.name,
        "method": spec.method.name,
        "settings": spec.settings(),
        "cost": None if cost is None else dict(cost),
        "reason": reason,
        "machine": machine,
        "device": spec.device,
        "versions": dict(versions),
        "code": spec.code,
    }


def cost_of(record: Mapping[str, Any], profile: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run's `cost`: measured solo where there is a profile, for the steps that it took.

    What was not measured is None. Sizes are the run's own.
    """
    own = record.get("cost") or {}
    solo = (profile or {}).get("cost") or {}
    cost: dict[str, Any] = {name: solo.get(name) for name in COSTS}
    cost |= {name: solo[name] for name in _MORE if solo.get(name) is not None}
    cost |= {name: value for name, value in own.items() if value is not None}
    cost["measured"] = "solo" if solo else None
    steps = record.get("steps")
    if solo and steps:
        cost["train_seconds"] = solo["step_seconds"] * steps + solo["prefix_seconds"]
    return cost
