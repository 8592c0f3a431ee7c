"""What a plan is reckoned from: the sizes of a backbone's modules, of a method's trained part and
of the data's real texts. Nothing is loaded but a configuration and the token ids.

Everything here is plain numbers, so that a survey made in a worker serves a parent without torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.fit import head_of, kind_of, room_of
from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone, BackboneOptions
    from tuneoff.backbones.names import Head
    from tuneoff.data.encoded import Prepared
    from tuneoff.study import BackboneSpec


CROSSING = ("crossattention", "EncDecAttention", "encoder_attn")
"""What modules of cross-attention are called."""
_DROPOUT = ("hidden_dropout_prob", "resid_pdrop", "resid_dropout", "dropout_rate", "dropout")
_ATTENTION_DROPOUT = (
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "attention_dropout",
    "dropout_rate",
)
"""What configurations call dropout of states, and of attention weights."""


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


def run_options(spec: RunSpec, dequantized_gb: float | None = None) -> BackboneOptions:
    """How to load a run's backbone: as the study says, with the tokens that its task adds."""
    from dataclasses import replace

    tokens = spec.task.settings.new_tokens(head_of(spec.backbone, spec.task))
    return replace(options_of(spec.backbone, dequantized_gb), new_tokens=tokens)


def options_of(backbone: BackboneSpec, dequantized_gb: float | None = None) -> BackboneOptions:
    """How to load a study's backbone; `dequantized_gb`, where given, overrides its own."""
    from tuneoff.backbones.backbone import BackboneOptions

    kept = backbone.dequantized_cache_gb
    return BackboneOptions(
        model=backbone.model,
        revision=backbone.revision,
        implementation=backbone.implementation,
        quantization=backbone.quantization,
        double_quantization=backbone.double_quantization,
        compute_dtype=backbone.compute_dtype,
        dtype=backbone.dtype,
        dequantized_cache_gb=kept if dequantized_gb is None else dequantized_gb,
        new_cross_attention=backbone.new_cross_attention,
    )


def prepared_data(spec: RunSpec, tokenizer: Any) -> Prepared:
    """The encoded splits of a run. Raises DataError."""
    from tuneoff.data.encoded import prepare

    data = spec.task.data
    return prepare(
        spec.task.settings,
        data.source,
        tokenizer,
        columns=data.columns,
        split=data.split,
        limit=data.limit,
        shift=data.shift,
        kind=kind_of(spec.backbone),
        room=room_of(spec.backbone),
    )


def survey(specs: list[RunSpec]) -> Survey:
    """Facts about everything that the runs stand on.

    Raises BackboneError and DataError for what cannot be had.
    """
    started = time.perf_counter()
    backbones: dict[str, BackboneFacts] = {}
    data: dict[str, DataFacts] = {}
    methods: dict[str, MethodFacts] = {}
    shapes: dict[str, Backbone] = {}
    for spec in specs:
        if data_key(spec) not in data:
            data[data_key(spec)] = _data_facts(spec)
        facts = data[data_key(spec)]
        key = backbone_key(spec)
        if key not in backbones:
            shapes[key] = _shape(spec, facts)
            backbones[key] = _backbone_facts(spec, shapes[key])
        if method_key(spec) not in methods:
            methods[method_key(spec)] = _method_facts(spec, shapes[key])
    return Survey(backbones, data, methods, time.perf_counter() - started)


def _data_facts(spec: RunSpec) -> DataFacts:
    from tuneoff.backbones.backbone import load_tokenizer

    tokenizer = load_tokenizer(run_options(spec))
    prepared = prepared_data(spec, tokenizer)
    features = prepared.features
    train = features["train"]
    labelled = float(train.labelled(np.arange(len(train))).mean())
    said = len(train.targets) if train.form == "sequence" else len(train.tokens)
    return DataFacts(
        said=said / max(1, len(train)),
        generation=_generation_facts(spec, prepared, tokenizer),
        fingerprint=prepared.fingerprint,
        classes=tuple(prepared.facts.get("classes", ())),
        examples={name: len(one) for name, one in features.items()},
        tokens={name: len(one.tokens) for name, one in features.items()},
        squares={
            name: int((one.lengths.astype(np.int64) ** 2).sum()) for name, one in features.items()
        },
        longest=max(int(one.lengths.max()) for one in features.values()),
        labelled=labelled,
        report=prepared.report,
    )


def _generation_facts(spec: RunSpec, prepared: Prepared, tokenizer: Any) -> GenerationFacts | None:
    task = spec.task.settings
    settings = task.generation_for(prepared.facts["head"])
    answered = [
        one for name, one in prepared.features.items() if name not in ("train", "validation")
    ]
    if settings is None or not answered:
        return None
    lengths = [[len(prompt) for prompt in task.prompts(one, tokenizer)] for one in answered]
    return GenerationFacts(
        prompts=max(map(len, lengths)),
        longest=max((max(one, default=1) for one in lengths), default=1),
        new_tokens=settings.max_new_tokens,
        beams=settings.num_beams,
        draws=settings.do_sample,
    )


def _shape(spec: RunSpec, data: DataFacts) -> Backbone:
    from tuneoff.backbones.backbone import inspect, load_tokenizer
    from tuneoff.backbones.checkpoint import check_files, check_tokenizer

    options = run_options(spec)
    shape = inspect(options, head_of(spec.backbone, spec.task), max(1, len(data.classes)))
    check_files(options.model)
    check_tokenizer(load_tokenizer(options), shape)
    return shape


def _backbone_facts(spec: RunSpec, shape: Backbone) -> BackboneFacts:
    from tuneoff.backbones.families import family_of

    quantized = spec.backbone.quantization != "none"
    owned = shape.parameters_by_site()
    sites = []
    for site in shape.sites.values():
        inside = 0 <= site.block < shape.blocks and site.kind == "linear" and not site.is_head
        sites.append(
            SiteFacts(
                site.name,
                site.kind,
                site.role,
                site.block,
                site.in_features,
                site.out_features,
                owned[site.name],
                site.is_head,
                quantized and inside and site.role != "pooler",
            )
        )
    config = getattr(shape.config, "decoder", None) if shape.pair else shape.config
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", None) or 0
    places = [
        site.block
        for site in sites
        if ".decoder." in f".{site.name}" and 0 <= site.block < shape.blocks
    ]
    return BackboneFacts(
        shape.kind,
        shape.blocks,
        int(hidden),
        family_of(shape) is None,
        shape.head,
        tuple(sites),
        model_type=shape.config.model_type,
        heads=int(getattr(config, "num_attention_heads", None) or 0),
        drops=_rate(config, _DROPOUT) > 0.0,
        drops_attention=_rate(config, _ATTENTION_DROPOUT) > 0.0,
        writer=min(places, default=None) if shape.kind == "encoder_decoder" else None,
    )


def _rate(config: Any, names: tuple[str, ...]) -> float:
    """The first dropout rate that a configuration has under one of these names."""
    found = (getattr(config, name, None) for name in names)
    return float(next((rate for rate in found if rate is not None), 0.0))


def _method_facts(spec: RunSpec, shape: Backbone) -> MethodFacts:
    """Counts the hooks that the method builds on the weightless shape."""
    import torch

    from tuneoff.backbones.new_tokens import hooks_of
    from tuneoff.backbones.sites import Own

    method = spec.method.settings
    problems = tuple(method.problems(shape))
    heads = frozenset(site.name for site in shape.head_sites)
    head_size = sum(p.numel() for site in shape.head_sites for p in site.module.parameters(False))
    unknown = MethodFacts(head_size, 0, heads, 0, False, False, method.alone, problems)
    if problems or method.alone:
        return unknown
    try:
        hooks = hooks_of(shape, method.build(shape, torch.Generator().manual_seed(0)))
    except Exception:  # noqa: BLE001 - the run itself will say what is wrong with the method
        return unknown
    owned = heads | {name for name, hook in hooks.items() if isinstance(hook, Own)}
    parameters = {
        id(p): p for name, hook in hooks.items() if name not in heads for p in hook.parameters()
    }
    matrices = {
        id(p): p
        for hook in hooks.values()
        if not isinstance(hook, Own)
        for p in hook.parameters()
        if p.ndim >= 2
    }
    touched = [shape.sites[name] for name in {*hooks, *heads}]
    return MethodFacts(
        trainable=head_size + sum(p.numel() for p in parameters.values()),
        lowest=max(0, min((site.block for site in touched), default=0)),
        owned=owned,
        hook_weights=sum(p.numel() for p in matrices.values()),
        trains_embeddings=any(
            isinstance(hook, Own) and shape.sites[name].kind == "embedding"
            for name, hook in hooks.items()
        ),
        stacks=any(hook.fused is not None for hook in hooks.values()),
        alone=False,
        problems=problems,
    )
