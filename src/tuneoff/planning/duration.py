"""Predicted time of a run: the operations of its matrix products on real tokens, at the machine's
measured rate.

A product of (n, I) and (I, O) is 2 n I O operations; going back through a frozen layer costs as
much again, a weight's own gradient once more (arXiv 2001.08361, section 2.1). Attention adds
4 L D per token forward and twice that backward. Nothing is computed for padding, below the lowest
trained place nothing goes back, and a cached prefix runs once per example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneoff.planning.facts import BackboneFacts, DataFacts, MethodFacts
from tuneoff.runs import RunSpec
from tuneoff.training.generation import BATCH_TOKENS
from tuneoff.training.schedules import total_steps

EFFICIENCY = {"cpu": 0.6, "cuda": 0.1}
"""Share of the measured rate that training reaches; `performance.md`, section 7, for a CPU."""
_STEP_SECONDS = {"cpu": 0.002, "cuda": 0.015}
_PADDING = 1.3
_LOAD_SECONDS, _LOAD_RATE = 0.3, 5e8


@dataclass(frozen=True)
class Duration:
    """Seconds of one run alone, on one worker."""

    training: float
    evaluation: float
    prefix: float
    loading: float
    steps: int

    @property
    def total(self) -> float:
        return self.training + self.evaluation + self.shared

    @property
    def shared(self) -> float:
        """What members of a cohort pay for once."""
        return self.prefix + self.loading


def predict(
    spec: RunSpec,
    backbone: BackboneFacts,
    data: DataFacts,
    method: MethodFacts,
    flops: float,
    device: str,
) -> Duration:
    """One run's time, before anything was measured but the machine. flops: per second."""
    rate = flops * EFFICIENCY[device] / (_PADDING if backbone.padded else 1.0)
    cached = caches_prefix(spec, backbone, method)
    forward = token_operations(backbone, data, 0)
    above = token_operations(backbone, data, method.lowest)
    owned = sum(
        2.0 * s.inputs * s.outputs * backbone.share(s, data)
        for s in backbone.sites
        if s.name in method.owned and s.kind == "linear" and s.block < backbone.blocks
    )
    per_token = (above if cached else forward) + above + owned + 6.0 * method.hook_weights
    count = steps_of(spec, data)
    seen = min(count * spec.training.batch_size, epochs_of(spec, data) * data.examples["train"])
    training = seen * data.mean_length * per_token / rate + count * _STEP_SECONDS[device]
    evaluation = evaluated_tokens(spec, data) * (above if cached else forward) / rate
    evaluation += _generating(spec, data, forward / rate, _STEP_SECONDS[device])
    read = sum(tokens for name, tokens in data.tokens.items() if _sees(spec, name))
    prefix = read * (forward - above) / rate if cached else 0.0
    loading = _LOAD_SECONDS + 4 * backbone.parameters / _LOAD_RATE
    return Duration(training, evaluation, prefix, loading, count)


def measured(spec: RunSpec, data: DataFacts, cost: Mapping[str, Any]) -> Duration:
    """One run's time from the profile of its setting (`cost` of a line of `profiles.jsonl`)."""
    count = steps_of(spec, data)
    evaluation = cost["evaluation_seconds_per_token"] * evaluated_tokens(spec, data)
    if _sees(spec, "test") and cost.get("generation_seconds_per_example") is not None:
        rows = judged(data.examples) * (1 + spec.evaluation.repeats)
        evaluation += cost["generation_seconds_per_example"] * rows
    training = cost["step_seconds"] * count
    return Duration(training, evaluation, cost["prefix_seconds"], cost["load_seconds"], count)


def _generating(spec: RunSpec, data: DataFacts, seconds: float, step: float) -> float:
    """Seconds of writing the answers of the test split, each as long as it may be. seconds: of one
    token through the model; step: of one token more for a batch of texts."""
    if not data.written or not _sees(spec, "test"):
        return 0.0
    rows = judged(data.examples) * (1 + spec.evaluation.repeats)
    batches = -(-rows * (data.mean_length + data.written) // BATCH_TOKENS)
    return float(rows * (data.mean_length + data.written) * seconds + batches * data.written * step)


def evaluated_tokens(spec: RunSpec, data: DataFacts) -> float:
    """Tokens read by all evaluations: validation while training and at the end, then test; both
    again at each place between the original and the trained model."""
    tokens = data.tokens
    again = spec.evaluation.repeats if spec.kind == "run" else 0
    reading = tokens.get("validation", 0) * (evaluations_of(spec, data) + 1 + again)
    return float(reading + (judged(tokens) * (1 + again) if _sees(spec, "test") else 0))


def judged(counts: Mapping[str, int]) -> int:
    """What is counted by split, of test and the further test sets together."""
    return sum(count for split, count in counts.items() if split not in ("train", "validation"))


def _sees(spec: RunSpec, split: str) -> bool:
    """Probes never see the test splits."""
    return split in ("train", "validation") or spec.kind == "run"


def token_operations(backbone: BackboneFacts, data: DataFacts, lowest: int) -> float:
    """Operations per token of one forward pass through the blocks from `lowest` on."""
    products = sum(
        2.0 * s.inputs * s.outputs * backbone.share(s, data)
        for s in backbone.sites
        if s.kind == "linear" and lowest <= s.block < backbone.blocks
    )
    length = data.squares["train"] / max(1, data.tokens["train"])
    attention = 4.0 * length * backbone.hidden * max(0, backbone.blocks - lowest)
    head = 0.0
    if backbone.head in ("causal_lm", "seq2seq_lm"):
        widest = max(
            (
                s.inputs * s.outputs
                for s in backbone.sites
                if s.kind == "linear" and s.block >= backbone.blocks
            ),
            default=0,
        )
        head = 2.0 * widest * data.labelled / max(1.0, data.mean_length)
    return products + attention + head


def caches_prefix(spec: RunSpec, backbone: BackboneFacts, method: MethodFacts) -> bool:
    """Whether frozen blocks below the lowest trained place are run once and kept. Of a padded
    encoder-decoder that is the encoder at most, and not counted here."""
    return (
        spec.training.cache_frozen_prefix
        and not (backbone.padded and backbone.writer is not None)
        and not method.alone
        and method.lowest > 0
    )


def steps_of(spec: RunSpec, data: DataFacts) -> int:
    """Optimizer steps of a run."""
    return total_steps(spec.training, data.examples["train"])


def epochs_of(spec: RunSpec, data: DataFacts) -> float:
    """Passes over the train split."""
    per_epoch = max(1, -(-data.examples["train"] // spec.training.batch_size))
    return steps_of(spec, data) / per_epoch


def evaluations_of(spec: RunSpec, data: DataFacts) -> int:
    """Evaluations on the validation split while training."""
    every = spec.training.evaluate_every
    count = steps_of(spec, data)
    if every == "epoch":
        return max(1, round(epochs_of(spec, data)))
    return max(1, -(-count // every))
