"""Predicted peak memory of a run, from the sizes of modules and the lengths of real texts: what it
holds throughout, and the largest of what it does: training, evaluation, writing answers, saving.

Sources: 4-bit weights with a 32-bit scale per 64, or with 8-bit scales and a 32-bit one per 256 of
those: QLoRA, arXiv 2305.14314, section 3. Optimizer states: Adam, arXiv 1412.6980 (two moments);
8-bit, arXiv 2110.02861 (one byte each, a 32-bit scale per 256, tensors below 4096 entries stay in
32 bits); Adafactor, arXiv 1804.04235 (a row and a column). Passes: `working_memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuneoff.planning import working_memory
from tuneoff.planning.facts import BackboneFacts, DataFacts, MethodFacts, SiteFacts
from tuneoff.runs import RunSpec
from tuneoff.training.generation import BATCH_TOKENS
from tuneoff.training.outcome import EVALUATION_TOKENS

PROCESS_BYTES = 420_000_000
"""A CPU worker before it loads anything: Python, torch and transformers, mostly shared pages."""
CUDA_CONTEXT_BYTES = 700_000_000
"""A CUDA context with its kernels."""
_FIRST_USE = {"cpu": 45_000_000, "cuda": 10_000_000}
"""Beside what a run asks for: code and tables that libraries bring in when they are first used, the
tokenizer; cuBLAS's workspace."""
_ALLOCATOR = {"cpu": 1.1, "cuda": 1.05}
"""Memory that a pass takes over the tensors that live in it."""
_SCATTERED, _SCATTERED_BYTES = 0.8, 60_000_000
"""On a CPU, of the first so many bytes, so much more: malloc keeps pieces below 32 MB in its heap,
where those that live lie between those that are free. Both fitted to the cases of docs/running.md.
"""
_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
_STATE_BYTES = {
    "adamw": 8.0,
    "paged_adamw": 8.0,
    "adamw_8bit": 2.03,
    "paged_adamw_8bit": 2.03,
    "adafactor": 0.05,
    "sgd": 0.0,
}


@dataclass(frozen=True)
class Batches:
    """Most tokens of a pass, all members together: while training (None: a whole batch), in
    evaluation, and with what is written in generation, beams included."""

    training: int | None = None
    evaluation: int = EVALUATION_TOKENS
    generation: int = BATCH_TOKENS


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for, of one run alone.

    Held throughout: weights, trained (the own copy), best (the best checkpoint), gradients,
    optimizer, libraries (what they bring in on first use), and kept_dequantized where 4-bit weights
    are kept in full too. One after another: activations (of training), evaluation, generation,
    saving.
    """

    weights: int
    trained: int
    best: int
    gradients: int
    optimizer: int
    libraries: int
    activations: int
    evaluation: int
    generation: int
    saving: int
    kept_dequantized: int = 0

    @property
    def shared(self) -> int:
        """What members of a cohort hold in common."""
        return self.weights + self.libraries + self.kept_dequantized

    @property
    def own(self) -> int:
        """What each member holds."""
        return self.trained + self.best + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """What a run needs beside the process itself."""
        return together([self])

    @property
    def profiled(self) -> int:
        """What a profile's steps measure: training, before there is a best checkpoint, without what
        is kept dequantized."""
        return self.total_of(self.activations) - self.best - self.kept_dequantized

    def total_of(self, work: int) -> int:
        """All that is held, and so much for what is being done."""
        return self.shared + self.own + work

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"total": self.total}


def together(parts: Sequence[Memory]) -> int:
    """What a cohort needs beside the process itself: its members train side by side, and share the
    batches of evaluation and of generation."""
    work = max(
        sum(part.activations for part in parts),
        max(part.evaluation for part in parts),
        max(part.generation for part in parts),
        sum(part.saving for part in parts),
    )
    return max(part.shared for part in parts) + sum(part.own for part in parts) + work


def predict(
    spec: RunSpec,
    backbone: BackboneFacts,
    data: DataFacts,
    method: MethodFacts,
    batches: Batches = Batches(),
    dequantized_gb: float = 0.0,
) -> Memory:
    """One run's memory."""
    training = spec.training
    trained = 4 * method.trainable
    item = _ITEM[spec.backbone.compute_dtype]
    full = sum(item * s.inputs * s.outputs for s in backbone.sites if s.quantized)
    passes = working_memory

    def taken(live: float) -> int:
        scattered = _SCATTERED * min(live, _SCATTERED_BYTES) if spec.device == "cpu" else 0.0
        return round(_ALLOCATOR[spec.device] * live + scattered)

    return Memory(
        weights=round(sum(weight_bytes(spec, site) for site in backbone.sites))
        + _low_weights(spec, backbone, method),
        trained=trained,
        best=trained if training.best_checkpoint else 0,
        gradients=trained,
        optimizer=round(_STATE_BYTES[training.optimizer] * method.trainable),
        libraries=_FIRST_USE[spec.device],
        activations=taken(passes.training_bytes(spec, backbone, data, method, batches.training)),
        evaluation=taken(passes.evaluation_bytes(spec, backbone, data, method, batches.evaluation)),
        generation=taken(passes.generation_bytes(spec, backbone, data, batches.generation)),
        saving=trained,
        kept_dequantized=min(full, int(dequantized_gb * 1e9)),
    )


def _low_weights(spec: RunSpec, backbone: BackboneFacts, method: MethodFacts) -> int:
    """Frozen weights once more in 16 bits, for autocast; see `Site.lower`."""
    if spec.training.precision not in ("bf16", "fp16") or spec.backbone.dtype != "float32":
        return 0
    return sum(
        2 * site.inputs * site.outputs
        for site in backbone.sites
        if site.kind == "linear" and not site.quantized and site.name not in method.owned
    )


def weight_bytes(spec: RunSpec, site: SiteFacts) -> float:
    """Bytes of a frozen module as it is loaded; heads are float32."""
    backbone = spec.backbone
    if site.is_head:
        return 4.0 * site.parameters
    plain = _ITEM[backbone.dtype]
    if not site.quantized:
        return float(plain * site.parameters)
    entries = site.inputs * site.outputs
    bias = plain * (site.parameters - entries) if site.parameters > entries else 0
    if backbone.quantization == "int8":
        return entries + 4.0 * site.outputs + bias
    scales = (1 + 4 / 256) / 64 if backbone.double_quantization else 4 / 64
    return entries * (0.5 + scales) + bias
