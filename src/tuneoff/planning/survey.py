"""Surveys what a study stands on: nothing is loaded but configurations and token ids, and each
model without weights, tokenizer and data set once, however many runs share it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.fit import head_of, kind_of, room_of, weightless
from tuneoff.planning.facts import (
    BackboneFacts,
    DataFacts,
    GenerationFacts,
    MethodFacts,
    SiteFacts,
    Survey,
    backbone_key,
    data_key,
    method_key,
)
from tuneoff.runs import RunSpec

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone, BackboneOptions
    from tuneoff.data.encoded import Prepared, Splits
    from tuneoff.study import BackboneSpec

_DROPOUT = ("hidden_dropout_prob", "resid_pdrop", "resid_dropout", "dropout_rate", "dropout")
_ATTENTION_DROPOUT = (
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "attention_dropout",
    "dropout_rate",
)
"""What configurations call dropout of states, and of attention weights."""


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


def rows_of(spec: RunSpec) -> Splits:
    """The rows of a run's splits. Raises DataError."""
    from tuneoff.data.encoded import split_rows

    data = spec.task.data
    return split_rows(
        spec.task.settings,
        data.source,
        columns=data.columns,
        split=data.split,
        limit=data.limit,
        shift=data.shift,
    )


def prepared_data(spec: RunSpec, tokenizer: Any, rows: Splits | None = None) -> Prepared:
    """The encoded splits of a run; rows: where they were read before. Raises DataError."""
    from tuneoff.data.encoded import encode_splits

    kind, room = kind_of(spec.backbone), room_of(spec.backbone)
    return encode_splits(spec.task.settings, rows or rows_of(spec), tokenizer, kind, room)


def survey(specs: list[RunSpec]) -> Survey:
    """Facts about everything that the runs stand on.

    Raises BackboneError and DataError for what cannot be had.
    """
    started = time.perf_counter()
    backbones: dict[str, BackboneFacts] = {}
    data: dict[str, DataFacts] = {}
    methods: dict[str, MethodFacts] = {}
    shapes: dict[str, Backbone] = {}
    once = _Once()
    for spec in specs:
        if data_key(spec) not in data:
            data[data_key(spec)] = _data_facts(spec, once)
        facts = data[data_key(spec)]
        key = backbone_key(spec)
        if key not in backbones:
            shapes[key] = _shape(spec, facts, once)
            backbones[key] = _backbone_facts(spec, shapes[key])
        if method_key(spec) not in methods:
            methods[method_key(spec)] = _method_facts(spec, shapes[key])
    return Survey(backbones, data, methods, time.perf_counter() - started)


@dataclass
class _Once:
    """What a survey has read: tokenizers, rows before any tokenizer, shapes that were checked."""

    tokenizers: dict[Any, Any] = field(default_factory=dict)
    splits: dict[str, Splits] = field(default_factory=dict)
    checked: set[Any] = field(default_factory=set)

    def tokenizer(self, options: BackboneOptions) -> Any:
        """With the tokens that the task adds."""
        from tuneoff.backbones.backbone import load_tokenizer

        key = (options.model, options.revision, options.new_tokens)
        if key not in self.tokenizers:
            self.tokenizers[key] = load_tokenizer(options)
        return self.tokenizers[key]

    def rows(self, spec: RunSpec) -> Splits:
        """Every backbone and tokenizer reads the same."""
        task = spec.task
        key = f"{task.task} {task.settings.model_dump_json()} {task.data.model_dump_json()}"
        if key not in self.splits:
            self.splits[key] = rows_of(spec)
        return self.splits[key]


def _data_facts(spec: RunSpec, once: _Once) -> DataFacts:
    tokenizer = once.tokenizer(run_options(spec))
    prepared = prepared_data(spec, tokenizer, once.rows(spec))
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


def _shape(spec: RunSpec, data: DataFacts, once: _Once) -> Backbone:
    from tuneoff.backbones.checkpoint import check_files, check_tokenizer

    options = run_options(spec)
    head, classes = head_of(spec.backbone, spec.task), max(1, len(data.classes))
    shape = weightless(options, head, classes)
    if (options, head, classes) not in once.checked:
        check_files(options.model)
        check_tokenizer(once.tokenizer(options), shape)
        once.checked.add((options, head, classes))
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
