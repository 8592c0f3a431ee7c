"""What a plan is reckoned from: the sizes of a backbone's modules, of a method's trained part and
of the data's real texts.

Everything here is plain numbers, so that a survey made in a worker serves a parent without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.backbones.names import Head

CROSSING = ("crossattention", "EncDecAttention", "encoder_attn")
"""What modules of cross-attention are called."""


@dataclass(frozen=True)
class SiteFacts:
    """One module that owns parameters; see `backbones.sites.Site`."""

    name: str
    kind: str
    role: str
    block: int
    inputs: int
    outputs: int
    parameters: int
    is_head: bool
    quantized: bool


@dataclass(frozen=True)
class BackboneFacts:
    """A backbone's shape. padded: it has no padding-free forward, and trains in padded batches."""

    kind: str
    blocks: int
    hidden: int
    padded: bool
    head: Head
    sites: tuple[SiteFacts, ...]
    writer: int | None = None
    """The first block of an encoder-decoder's second stack, which reads what is said."""
    model_type: str = ""
    """The architecture, as transformers calls it."""
    heads: int = 0
    drops: bool = False
    """Whether states are dropped in training."""
    drops_attention: bool = False
    """Whether attention weights are."""

    def share(self, site: SiteFacts, data: DataFacts) -> float:
        """Tokens that a site reads for each token of the input: what is said stands apart in an
        encoder-decoder, but keys and values of cross-attention are of the input."""
        if self.writer is None or site.block < self.writer:
            return 1.0
        reads_input = self.crosses(site) and site.role in ("key", "value")
        return 1.0 if reads_input else data.said / max(1.0, data.mean_length)

    def crosses(self, site: SiteFacts) -> bool:
        """Whether a site belongs to cross-attention."""
        return any(word in site.name for word in CROSSING)

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, head included."""
        return sum(site.parameters for site in self.sites)


@dataclass(frozen=True)
class GenerationFacts:
    """How answers are written. prompts: of the largest split that is answered; longest: tokens of
    the longest prompt."""

    prompts: int
    longest: int
    new_tokens: int
    beams: int
    draws: bool


@dataclass(frozen=True)
class DataFacts:
    """A task's data in numbers. tokens, squares: per split, sum of the lengths and of their
    squares; labelled: rows of the head per example (1 for classification); said: tokens that the
    decoder of an encoder-decoder reads per example; generation: None where nothing is written."""

    fingerprint: str
    classes: tuple[str, ...]
    examples: Mapping[str, int]
    tokens: Mapping[str, int]
    squares: Mapping[str, int]
    longest: int
    labelled: float
    report: Mapping[str, Any]
    said: float = 0.0
    generation: GenerationFacts | None = None

    @property
    def written(self) -> int:
        """Tokens that are generated at most for a row of test, in all beams together."""
        asked = self.generation
        return asked.new_tokens * asked.beams if asked else 0

    @property
    def mean_length(self) -> float:
        """Tokens of a training example."""
        return self.tokens["train"] / max(1, self.examples["train"])

    def batch_tokens(self, batch_size: int) -> int:
        """Real tokens of a large batch: its mean and two standard deviations."""
        n = max(1, self.examples["train"])
        variance = max(0.0, self.squares["train"] / n - self.mean_length**2)
        size = min(batch_size, n)
        most: float = size * self.mean_length + 2 * math.sqrt(size * variance)
        return max(1, round(min(most, size * self.longest)))


@dataclass(frozen=True)
class MethodFacts:
    """What a method adds to a backbone. lowest: the lowest trained place, as `Family.entry` counts;
    owned: sites whose weights are trained; hook_weights: entries of new matrices; stacks: hooks of
    several members are one operation."""

    trainable: int
    lowest: int
    owned: frozenset[str]
    hook_weights: int
    trains_embeddings: bool
    stacks: bool
    alone: bool
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """Facts by content: see `backbone_key`, `data_key`, `method_key`."""

    backbones: Mapping[str, BackboneFacts]
    data: Mapping[str, DataFacts]
    methods: Mapping[str, MethodFacts]
    seconds: float

    def backbone(self, spec: RunSpec) -> BackboneFacts:
        return self.backbones[backbone_key(spec)]

    def of_data(self, spec: RunSpec) -> DataFacts:
        return self.data[data_key(spec)]

    def method(self, spec: RunSpec) -> MethodFacts:
        return self.methods[method_key(spec)]


def backbone_key(spec: RunSpec) -> str:
    """Names the shape that a run's backbone has; the head's size comes from the task."""
    return f"{spec.backbone.model_dump_json()} {spec.task.model_dump_json()}"


def data_key(spec: RunSpec) -> str:
    """Names the encoded data of a run: rows, task and tokenizer."""
    return f"{spec.task.model_dump_json()} {spec.backbone.model} {spec.backbone.revision}"


def method_key(spec: RunSpec) -> str:
    """Names what a method adds; the learning rate does not matter."""
    settings = spec.method.settings.model_dump_json(exclude={"learning_rate"})
    return f"{backbone_key(spec)} {spec.method.method} {settings}"
