"""Predicted peak memory of training, from the sizes of modules and the lengths of real texts.

Sources: 4-bit weights with a 32-bit scale per 64, or with 8-bit scales and a 32-bit one per 256 of
those: QLoRA, arXiv 2305.14314, section 3. Optimizer states: Adam, arXiv 1412.6980 (two moments);
8-bit, arXiv 2110.02861 (one byte each, a 32-bit scale per 256, tensors below 4096 entries stay in
32 bits); Adafactor, arXiv 1804.04235 (a row and a column). Activations: arXiv 2205.05198,
section 4, counted here over the modules at hand, attention in place (no matrix of scores is kept).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tuneoff.planning.survey import BackboneFacts, DataFacts, MethodFacts, SiteFacts
from tuneoff.runs import RunSpec

PROCESS_BYTES = 420_000_000
"""A CPU worker before it loads anything: Python, torch and transformers, mostly shared pages."""
CUDA_CONTEXT_BYTES = 700_000_000
"""A CUDA context with its kernels."""
_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
_STATE_BYTES = {
    "adamw": 8.0,
    "paged_adamw": 8.0,
    "adamw_8bit": 2.03,
    "paged_adamw_8bit": 2.03,
    "adafactor": 0.05,
    "sgd": 0.0,
}
_EVALUATION_TOKENS = 4096


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for, of one run alone; `kept_dequantized` only where 4-bit weights
    are kept in full too."""

    weights: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    kept_dequantized: int = 0

    @property
    def total(self) -> int:
        """What training needs beside the process itself."""
        return (
            self.weights
            + self.trained
            + self.gradients
            + self.optimizer
            + self.activations
            + self.kept_dequantized
        )

    @property
    def own(self) -> int:
        """What a further member of a cohort adds."""
        return self.trained + self.gradients + self.optimizer + self.activations

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"total": self.total}


def predict(
    spec: RunSpec,
    backbone: BackboneFacts,
    data: DataFacts,
    method: MethodFacts,
    micro_batch_tokens: int | None = None,
    dequantized_gb: float = 0.0,
) -> Memory:
    """One run's memory. micro_batch_tokens: most tokens in a pass (None: a whole batch)."""
    training = spec.training
    weights = sum(weight_bytes(spec, site) for site in backbone.sites)
    trained = 4 * method.trainable * (2 if training.best_checkpoint else 1)
    states = _STATE_BYTES[training.optimizer] * method.trainable
    tokens = data.batch_tokens(training.micro_batch_size or training.batch_size)
    if backbone.padded:
        tokens = round(1.3 * tokens)  # what padding is left in sorted quarters of a batch
    if micro_batch_tokens is not None:
        tokens = min(tokens, max(micro_batch_tokens, data.longest))
    item = 2 if training.precision in ("bf16", "fp16") else 4
    kept = activation_floats(backbone, data, method, training.gradient_checkpointing)
    rows = tokens if backbone.head in ("causal_lm", "seq2seq_lm") else 0
    head = max((s.outputs for s in backbone.sites if s.kind == "linear"), default=0)
    logits = 3 * 4 * head * rows * data.labelled / max(1.0, data.mean_length)
    passing = 4 * _widest(backbone) * _EVALUATION_TOKENS
    activations = max(item * kept * tokens + logits, passing)
    item = _ITEM[spec.backbone.compute_dtype]
    full = sum(item * s.inputs * s.outputs for s in backbone.sites if s.quantized)
    return Memory(
        weights=round(weights),
        trained=trained,
        gradients=4 * method.trainable,
        optimizer=round(states),
        activations=round(activations),
        kept_dequantized=min(full, int(dequantized_gb * 1e9)),
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


def activation_floats(
    backbone: BackboneFacts, data: DataFacts, method: MethodFacts, checkpointing: bool
) -> float:
    """Numbers kept per token of the input for the backward pass, in blocks from the lowest trained
    place on.

    Each linear module keeps what comes out of it (the next operation's input), attention its
    result, the two norms and residuals of a block four rows of hidden size; with checkpointing a
    block keeps its input alone, and one block at a time is computed again.
    """
    per_block: dict[int, float] = {}
    for site in backbone.sites:
        if site.kind == "linear" and method.lowest <= site.block < backbone.blocks:
            share = backbone.share(site, data)
            begin = 5.0 * backbone.hidden * share
            per_block[site.block] = per_block.get(site.block, begin) + site.outputs * share
    if not per_block:
        return 2.0 * backbone.hidden / 8
    if checkpointing:
        return len(per_block) * backbone.hidden + max(per_block.values())
    return sum(per_block.values())


def _widest(backbone: BackboneFacts) -> int:
    """Numbers per token that one block needs at once in evaluation."""
    widest = max(
        (
            s.outputs
            for s in backbone.sites
            if s.kind == "linear" and 0 <= s.block < backbone.blocks
        ),
        default=0,
    )
    return 2 * widest + 4 * backbone.hidden
