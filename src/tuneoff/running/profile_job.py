"""The job of a fresh worker with nothing beside it: what one method setting costs.

Loading, some steps of training after warm-up steps, evaluation and inference are timed apart. On a
CPU, seconds are those of the one core that a run has, so that other programs on the machine do not
count; `busy` says how much longer it took by the clock. Peak memory is of the steps alone: what a
run adds to a process that has the libraries loaded, less a cached prefix, which is a choice of ours
and could lie on the disk; its bytes stand apart. Where the data is large, a sample of it is trained
on, and what grows with the data is scaled by tokens.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.planning.duration import judged
from tuneoff.running.materials import loaded
from tuneoff.running.peak_memory import Peak, PeakMeter, resident_bytes, settle
from tuneoff.running.worker import Say
from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.training.features import Features
    from tuneoff.training.loop import Cohort
    from tuneoff.training.outcome import Limits, Material

_WARM_UP_STEPS = 2
_LEAST_STEPS, _MOST_STEPS = 6, 200
_STEP_SECONDS = 1.0
_SAMPLE_TOKENS = 200_000
_EVALUATED_EXAMPLES = 256
_WRITTEN_EXAMPLES = 8


@dataclass(frozen=True)
class ProfileOrder:
    """One run's setting, trained alone for some steps."""

    spec: RunSpec
    limits: Limits
    dequantized_gb: float | None = None


def profile(order: ProfileOrder, say: Say) -> dict[str, Any]:  # noqa: ARG001 - it is over soon
    """The cost of training a run of this setting alone, as a dict with the keys of `cost` in
    `results.jsonl` and some more; what was not measured is None."""
    from tuneoff.training.loop import Cohort
    from tuneoff.training.outcome import Prefixes

    spec = order.spec
    cuda = spec.device == "cuda"
    settle(cuda)
    before = 0 if cuda else resident_bytes()
    held = loaded(spec, order.dequantized_gb)
    settle(cuda)
    whole = held.material.features
    material = replace(
        held.material,
        features={
            name: _sample(one, _SAMPLE_TOKENS if name == "train" else None)
            for name, one in whole.items()
        },
        prefixes=Prefixes(),
    )
    meter = PeakMeter(spec.device)
    cohort = Cohort([spec], material, order.limits)
    cohort.begin()
    prefix, cache = _time_prefix(cohort, whole, material)
    meter.start()
    steps, tokens, busy = _time_steps(cohort)
    training = meter.read()
    seconds_per_token = _time_evaluation(cohort, material)
    inference_seconds, written, inference = _time_inference(cohort, material, meter)
    member = cohort.members[0]
    evaluation = seconds_per_token * _evaluated_tokens(spec, whole, member)
    if written is not None:
        repeats = spec.evaluation.repeats
        rows = judged({name: len(one) for name, one in whole.items()})
        evaluation += written * rows * (1 + repeats)
    sites = held.material.backbone.sites.values()
    return {
        "trainable_parameters": member.parameters.count,
        "total_parameters": held.material.backbone.total_parameters,
        "load_seconds": held.load_seconds,
        "step_seconds": statistics.median(steps),
        "steps_measured": len(steps),
        "tokens_per_second": tokens / sum(steps),
        "prefix_seconds": prefix,
        "train_seconds": statistics.median(steps) * member.steps + prefix,
        "evaluation_seconds_per_token": seconds_per_token,
        "evaluation_seconds": evaluation,
        "generation_seconds_per_example": written,
        "busy": busy,
        "peak_memory_bytes": training.used - before - cache,
        "peak_reserved_bytes": training.reserved,
        "peak_resident_bytes": None if cuda else training.used,
        "process_bytes": None if cuda else before,
        "weights_bytes": _weight_bytes(held.material.backbone.model),
        "dequantized_bytes": sum(
            site.dequantized.nbytes for site in sites if site.dequantized is not None
        ),
        "adapter_bytes": sum(t.nbytes for t in member.parameters.tensors().values()),
        "inference_seconds_per_example": inference_seconds if written is None else written,
        "prefix_cache_bytes": cache,
        "inference_peak_memory_bytes": inference.used - before - cache,
        "measured": "solo",
    }


def _time_prefix(cohort: Cohort, whole: Any, material: Material) -> tuple[float, int]:
    """Seconds to run the frozen prefix over all splits once, and the bytes that are kept of the
    splits at hand; zeros where nothing is cached."""
    if cohort.passes.entry == 0:
        return 0.0, 0
    clock = _Clock(cohort)
    caches = [cohort.passes.cache(split) for split in material.features]
    spent = clock.seconds()
    sampled = sum(len(one.tokens) for one in material.features.values())
    seconds = spent * sum(len(one.tokens) for one in whole.values()) / sampled
    kept = [states for cache in caches if cache is not None for states in cache.states]
    return seconds, sum(states.nbytes for states in kept)


def _time_steps(cohort: Cohort) -> tuple[list[float], int, float]:
    """Seconds of each step after the warm-up, the real tokens that they trained on, and how much
    longer than that they took by the clock."""
    member = cohort.members[0]
    for _ in range(_WARM_UP_STEPS):
        cohort.step()
    before, began = member.tokens, time.perf_counter()
    seconds: list[float] = []
    while not member.finished and (
        len(seconds) < _LEAST_STEPS or (sum(seconds) < _STEP_SECONDS and len(seconds) < _MOST_STEPS)
    ):
        clock = _Clock(cohort)
        cohort.step()
        seconds.append(clock.seconds())
    if not seconds:
        raise RuntimeError(member.reason or "training ended before a step could be timed")
    return seconds, member.tokens - before, (time.perf_counter() - began) / sum(seconds)


def _time_evaluation(cohort: Cohort, material: Material) -> float:
    """Seconds per token of an evaluation while training, with a cached prefix if there is one."""
    from tuneoff.training.evaluation import evaluate

    split = "validation" if "validation" in material.features else "train"
    part = replace(material, features={split: _head(material.features[split])})
    cached = cohort.passes.cache(split)
    source = material if cached is not None else part
    cohort.passes.carry(cohort.members)
    clock = _Clock(cohort)
    evaluate(cohort.passes, source, split)
    return clock.seconds() / len(source.features[split].tokens)


def _time_inference(
    cohort: Cohort, material: Material, meter: PeakMeter
) -> tuple[float, float | None, Peak]:
    """Seconds per new example, those of writing its answer in text (None where none is written; at
    this little training answers are as long as they may be), and peak memory, nothing cached."""
    from tuneoff.training.evaluation import evaluate, written

    split = "test" if "test" in material.features else "train"
    part = replace(material, features={split: _head(material.features[split])})
    cohort.passes.entry = 0
    meter.start()
    clock = _Clock(cohort)
    evaluate(cohort.passes, part, split)
    seconds = clock.seconds() / len(part.features[split])
    if material.generation() is None:
        return seconds, None, meter.read()
    some = part.features[split].take(np.arange(min(_WRITTEN_EXAMPLES, len(part.features[split]))))
    clock = _Clock(cohort)
    written(cohort.passes, material, some)
    return seconds, clock.seconds() / len(some), meter.read()


class _Clock:
    """Seconds of this process's core on a CPU, by the clock on a GPU, from its making on."""

    def __init__(self, cohort: Cohort):
        self._cuda = cohort.device.type == "cuda"
        self._began = self._now()

    def seconds(self) -> float:
        """Since the making, at least a nanosecond."""
        return max(self._now() - self._began, 1e-9)

    def _now(self) -> float:
        if not self._cuda:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def _evaluated_tokens(spec: RunSpec, whole: Any, member: Any) -> float:
    """Tokens of all evaluations of a run: on validation while training and at the end, and test."""
    every = spec.training.evaluate_every
    pace = member.per_epoch if every == "epoch" else every
    count = -(-member.steps // pace) + 1
    tokens = {name: len(one.tokens) for name, one in whole.items()}
    again = spec.evaluation.repeats
    return float((count + again) * tokens.get("validation", 0) + (1 + again) * judged(tokens))


def _weight_bytes(model: Any) -> int:
    """Bytes of the model's parameters and buffers as they are stored."""
    seen = {p.data_ptr(): p.nbytes for p in [*model.parameters(), *model.buffers()]}
    return sum(seen.values())


def _head(features: Features) -> Features:
    """Some examples of a split."""
    if len(features) <= _EVALUATED_EXAMPLES:
        return features
    return features.take(np.arange(_EVALUATED_EXAMPLES))


def _sample(features: Features, tokens: int | None) -> Features:
    """A random part of about so many tokens; all where that is enough."""
    from tuneoff.data.batches import order

    if tokens is None or len(features.tokens) <= tokens:
        return features
    count = max(1, round(len(features) * tokens / len(features.tokens)))
    return features.take(np.sort(order(len(features), 0, 0)[:count]))
