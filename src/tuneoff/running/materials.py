"""What a worker has loaded: one backbone with its data, kept from cohort to cohort."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuneoff.fit import head_of
from tuneoff.planning.facts import data_key
from tuneoff.planning.survey import prepared_data, run_options
from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.data.encoded import Prepared
    from tuneoff.training.outcome import Material


@dataclass
class Loaded:
    """A backbone and its encoded data; load_seconds: of the backbone alone."""

    key: str
    material: Material
    prepared: Prepared
    load_seconds: float


_held: list[Loaded] = []


def material_key(spec: RunSpec, dequantized_gb: float | None = None) -> str:
    """Runs with the same key stand on the same loaded backbone and data."""
    backbone = {**spec.backbone.in_force(), "name": None}
    return json.dumps([backbone, data_key(spec), spec.device, dequantized_gb], sort_keys=True)


def loaded(spec: RunSpec, dequantized_gb: float | None = None) -> Loaded:
    """The backbone and data of a run, from the last job when that had the same.

    Raises BackboneError and DataError.
    """
    key = material_key(spec, dequantized_gb)
    if not (_held and _held[0].key == key):
        _held.clear()
        _held.append(_load(spec, key, dequantized_gb))
    return _held[0]


def material_for(spec: RunSpec, held: Loaded) -> Material:
    """What a run may see: a probe never has the test splits."""
    if spec.kind == "run":
        return held.material
    features = held.material.features
    seen = {name: features[name] for name in ("train", "validation") if name in features}
    return replace(held.material, features=seen)


def data_record(report: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """The `data` of a run's line in `results.jsonl`, from what `prepare` reports."""
    kept = (
        "source",
        "synthetic",
        "leaked_test_rows",
        "leaks",
        "shared",
        "rows",
        "truncated",
        "cut",
        "examples_left_out",
        "tokens",
        "left_out",
        "noted",
        "made_splits",
    )
    return {
        **report["examples"],
        "fingerprint": fingerprint,
        **{name: report[name] for name in kept},
        "class_counts": report["classes"],
    }


def _load(spec: RunSpec, key: str, dequantized_gb: float | None) -> Loaded:
    from tuneoff.backbones.backbone import load, load_tokenizer
    from tuneoff.training.outcome import Material

    options = run_options(spec, dequantized_gb)
    prepared = prepared_data(spec, load_tokenizer(options))
    classes = tuple(prepared.facts.get("classes", ()))
    head = head_of(spec.backbone, spec.task)
    started = time.perf_counter()
    backbone = load(options, head, classes or ("0", "1"), spec.device)
    seconds = time.perf_counter() - started
    material = Material(backbone, spec.task.settings, prepared.features, classes)
    return Loaded(key, material, prepared, seconds)
