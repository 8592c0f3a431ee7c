"""A backbone: a Hugging Face model, its tokenizer, and its sites.

`inspect` builds the weightless shape of a model from its configuration (meta device), so that a
study is checked and planned before anything is loaded; `load` brings the weights.
"""

from __future__ import annotations

import fnmatch
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tuneoff.backbones import drawing, encoder_decoder, new_tokens
from tuneoff.backbones.checkpoint import check_body, check_files, check_tokenizer
from tuneoff.backbones.kinds import kind_of_config, positions_of
from tuneoff.backbones.names import CLASSIFIERS, BackboneKind, Head, builtin_names, folder_of
from tuneoff.backbones.site_map import find_sites
from tuneoff.backbones.sites import Bounds, Site
from tuneoff.errors import BackboneError
from tuneoff.registry import nearest


@dataclass(frozen=True)
class BackboneOptions:
    """How to load: everything that changes the numbers of the frozen model.

    implementation: `transformers`, or `own` (GPT-2 alone); quantization: `none`, `nf4`, `fp4`,
    `int8`; dequantized_cache_gb: memory in GB for weights of a 4-bit model that are kept
    dequantized (None: none are); new_cross_attention: `trained` or `frozen`, of an encoder that
    also writes; new_tokens: what a task adds to the tokenizer.
    """

    model: str
    revision: str | None = None
    implementation: str = "transformers"
    quantization: str = "none"
    double_quantization: bool = True
    compute_dtype: str = "float32"
    dtype: str = "float32"
    dequantized_cache_gb: float | None = None
    new_cross_attention: str = "trained"
    new_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "new_tokens", tuple(self.new_tokens))  # JSON has lists


@dataclass
class Backbone:
    """The model with its sites by name; `model` is the whole Hugging Face model with its head."""

    options: BackboneOptions
    head: Head
    model: Any
    tokenizer: Any
    kind: BackboneKind
    blocks: int
    sites: dict[str, Site]
    device: torch.device
    new_names: frozenset[str] = frozenset()
    new_rows: int = 0
    """Embeddings of tokens that the task added, the last of the vocabulary."""
    pair: bool = False
    """Whether it is an encoder twice, with new cross-attention; see `encoder_decoder.py`."""
    _bounds: Bounds = field(default=((0, 0),))

    @property
    def config(self) -> Any:
        """The Hugging Face configuration."""
        return self.model.config

    @property
    def base_prefix(self) -> str:
        """The attribute of the headless model, e.g. `bert`, `transformer`, `model`."""
        return str(self.model.base_model_prefix)

    @property
    def head_sites(self) -> list[Site]:
        """Sites without pretrained weights: every method trains them."""
        return [site for site in self.sites.values() if site.is_head]

    @property
    def total_parameters(self) -> int:
        """Parameters of the whole model, head included; a quantized weight counts its entries."""
        return sum(self.parameters_by_site().values())

    def parameters_by_site(self) -> dict[str, int]:
        """Parameters of each site; one that several sites share counts at the first."""
        seen: set[int] = set()
        counts = {}
        for name, site in self.sites.items():
            count = 0
            for part, parameter in site.module.named_parameters(recurse=False):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                packed = site.quantized and part == "weight"
                count += site.in_features * site.out_features if packed else parameter.numel()
            counts[name] = count
        return counts

    def select(self, targets: str | Sequence[str]) -> list[Site]:
        """Linear sites of the pretrained part by target: `all-linear`, a role (`query`), the end
        of a module name (`q_proj`), a glob (`*.layer.1?.*`) or a regular expression (full match).

        Raises BackboneError naming the targets that match nothing, and what there is.
        """
        linear = [
            s
            for s in self.sites.values()
            if s.kind == "linear"
            and not s.is_head
            and s.role != "pooler"
            and not self._is_output_embedding(s)
        ]
        if targets == "all-linear" or list(targets) == ["all-linear"]:
            return linear
        wanted = [targets] if isinstance(targets, str) else list(targets)
        chosen: dict[str, Site] = {}
        missing = []
        for target in wanted:
            hits = [s for s in linear if _matches(s, target)]
            if target in ("query", "key", "value") and not hits:
                hits = [s for s in linear if s.role == "qkv"]
            if not hits:
                missing.append(target)
            chosen.update({s.name: s for s in hits})
        if missing:
            known = sorted({s.role for s in linear} | {s.name.rsplit(".", 1)[-1] for s in linear})
            raise BackboneError(
                f"target_modules: {', '.join(map(repr, missing))} match"
                f"{'es' if len(missing) == 1 else ''} no linear module of {self.options.model}"
                f"{nearest(missing[0], known)}. Allowed: 'all-linear', a role or name "
                f"({', '.join(known)}), a glob or a regular expression over full module names"
            )
        return [s for s in linear if s.name in chosen]

    def _is_output_embedding(self, site: Site) -> bool:
        return self.model.get_output_embeddings() is site.module

    def fresh_head(self, generator: torch.Generator) -> None:
        """Draw new weights for the head sites, as the Hugging Face model initialises them."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        drawing.draw(self.config, self.head_sites, seed)


def _stays_whole(site: Site, shape: Backbone) -> bool:
    """Never quantized: new modules, the pooler, and a pair's cross-attention and output head."""
    outside = shape.pair and (encoder_decoder.CROSS in site.name or site.block > shape.blocks)
    return site.is_head or site.role == "pooler" or outside


def _matches(site: Site, target: str) -> bool:
    if site.role == target or site.name == target or site.name.endswith("." + target):
        return True
    if any(ch in target for ch in "*?[") and fnmatch.fnmatchcase(site.name, target):
        return True
    try:
        return re.fullmatch(target, site.name) is not None
    except re.error:
        return False


def resolve(model: str) -> str:
    """A built-in short name as its folder; a folder or hub name as it is."""
    folder = folder_of(model)
    return model if folder is None else str(folder)


def read_config(options: BackboneOptions) -> Any:
    """The Hugging Face configuration. Raises BackboneError when it cannot be had."""
    from transformers import AutoConfig

    return from_hub(options, AutoConfig)


def from_hub(options: BackboneOptions, auto: Any, **kwargs: Any) -> Any:
    """`auto.from_pretrained`, with one clear error in place of what the hub client throws."""
    path = resolve(options.model)
    local = Path(path).is_dir()
    looks_local = options.model.startswith((".", "~", os.sep))
    if looks_local and not local:
        raise BackboneError(
            f"backbone {options.model!r}: no such folder; give a folder in Hugging "
            "Face layout (config.json, model.safetensors, tokenizer.json), a hub "
            f"name, or a built-in one: {', '.join(builtin_names())}"
        )
    try:
        return auto.from_pretrained(path, revision=options.revision or "main", **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if local:
            raise BackboneError(f"backbone folder {path}: {reason}") from error
        raise BackboneError(
            f"backbone {options.model!r} is neither a folder nor in the local hub cache, and the "
            f"hub did not deliver it ({reason}). On a machine with network: `hf download "
            f"{options.model}`, then copy the folder here and name its path; or use a built-in "
            f"backbone: {', '.join(builtin_names())}"
        ) from error


def load_tokenizer(options: BackboneOptions) -> Any:
    """The tokenizer, with the task's new tokens. Raises BackboneError when it cannot be had."""
    from transformers import AutoTokenizer

    tokenizer = from_hub(options, AutoTokenizer)
    new_tokens.add_to_tokenizer(tokenizer, options.new_tokens)
    return tokenizer


def model_class(options: BackboneOptions, head: Head) -> Any:
    """What has `from_config` and `from_pretrained` for a head: transformers', or our own."""
    import transformers

    if options.implementation == "own":
        from tuneoff.backbones import gpt2

        if head not in gpt2.CLASSES:
            raise BackboneError(
                f"backbone {options.model!r}: implementation `own` (GPT-2) has no "
                f"{head.replace('_', ' ')} form; heads: {', '.join(gpt2.CLASSES)}"
            )
        return gpt2.CLASSES[head]
    if head == "encoder_classification":
        from tuneoff.backbones.encoder_classifier import AutoEncoderClassifier

        return AutoEncoderClassifier
    return {
        "sequence_classification": transformers.AutoModelForSequenceClassification,
        "causal_lm": transformers.AutoModelForCausalLM,
        "question_answering": transformers.AutoModelForQuestionAnswering,
        "seq2seq_lm": transformers.AutoModelForSeq2SeqLM,
    }[head]


def kind_of(options: BackboneOptions) -> BackboneKind:
    """Encoder, decoder or encoder-decoder, from the configuration alone.

    Raises BackboneError when the configuration cannot be had.
    """
    return kind_of_config(read_config(options))


def room_of(options: BackboneOptions) -> int | None:
    """Tokens that a text may have, from the configuration alone; None where there is no bound.

    Raises BackboneError when the configuration cannot be had.
    """
    return positions_of(read_config(options))


def inspect(
    options: BackboneOptions, head: Head = "sequence_classification", classes: int = 2
) -> Backbone:
    """The model's shape without weights (meta device): sites, roles and sizes.

    Raises BackboneError when the configuration cannot be had or has no such head.
    """
    config = read_config(options)
    if head in CLASSIFIERS:
        config.num_labels = classes
    if head == "question_answering":
        config.num_labels = 2  # where an answer begins, where it ends
    pair = head == "seq2seq_lm" and kind_of_config(config) == "encoder"
    config = encoder_decoder.pair_config(config, options.model) if pair else config
    rows = 0
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if pair:
                model = encoder_decoder.weightless(config)
            else:
                model = model_class(options, head).from_config(config)
            if options.new_tokens:
                rows = new_tokens.grow(model, load_tokenizer(options))
    except ValueError as error:
        raise BackboneError(
            f"backbone {options.model!r} has no {head.replace('_', ' ')} form in "
            f"transformers: {str(error).splitlines()[0]}"
        ) from error
    return _wrap(
        options,
        head,
        model,
        tokenizer=None,
        device=torch.device("meta"),
        new_names=frozenset(),
        rows=rows,
        pair=pair,
    )


def load(
    options: BackboneOptions,
    head: Head = "sequence_classification",
    classes: Sequence[str] = ("0", "1"),
    device: str | torch.device = "cpu",
) -> Backbone:
    """The model with its weights, frozen, in evaluation mode, and its tokenizer.

    New heads stay in float32 and are never quantized.
    """
    from transformers.utils import logging

    from tuneoff.backbones.quantization import quantization_config

    device = torch.device(device)
    shape = inspect(options, head, len(classes))
    check_files(options.model)
    kwargs: dict[str, Any] = {
        "dtype": getattr(torch, options.dtype),
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
    }
    if head in CLASSIFIERS:
        kwargs["num_labels"] = len(classes)
        kwargs["id2label"] = dict(enumerate(classes))
        kwargs["label2id"] = {name: index for index, name in enumerate(classes)}
    if head == "question_answering":
        kwargs["num_labels"] = 2
        if shape.config.model_type == "llama":
            # here, and in no other Llama-style model, transformers calls the body `transformer`
            kwargs["key_mapping"] = {r"^model\.": "transformer."}
    plain = [site.name for site in shape.sites.values() if _stays_whole(site, shape)]

    def quantize(prefix: str) -> dict[str, Any]:
        names = [name.removeprefix(prefix) for name in plain if name.startswith(prefix)]
        config = quantization_config(options, skip=names)
        placed = {"quantization_config": config, "device_map": {"": str(device)}}
        return {} if config is None else placed

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = load_tokenizer(options)
            if shape.pair:
                model, info = encoder_decoder.loaded(
                    shape.config, partial(from_hub, options, **kwargs), quantize
                )
                encoder_decoder.name_tokens(model, tokenizer)
            else:
                kwargs |= quantize("")
                model, info = from_hub(options, model_class(options, head), **kwargs)
            rows = new_tokens.grow(model, tokenizer) if options.new_tokens else 0
    finally:
        logging.set_verbosity(verbosity)
    model.requires_grad_(False)
    model.eval()
    if options.quantization == "none":
        model.to(device)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id or 0
    missing = {*info["missing_keys"], *_other_heads(info, shape, options)}
    extra = () if shape.pair else info.get("unexpected_keys", ())
    check_body(shape, missing, extra, model.config.model_type)
    check_tokenizer(tokenizer, shape)
    new = frozenset(name.rsplit(".", 1)[0] for name in missing)
    backbone = _wrap(options, head, model, tokenizer, device, new, rows, shape.pair)
    if shape.pair and options.new_cross_attention == "frozen":
        crossing = [s for name, s in backbone.sites.items() if encoder_decoder.CROSS in name]
        drawing.draw(model.config, crossing, seed=0)  # the same wherever it is loaded
    for site in backbone.head_sites:
        site.module.to(torch.float32)
    if options.dequantized_cache_gb:
        from tuneoff.backbones.quantization import keep_dequantized

        keep_dequantized(backbone, int(options.dequantized_cache_gb * 1e9))
    return backbone


def _other_heads(info: Any, shape: Backbone, options: BackboneOptions) -> list[str]:
    """Parameters of a saved head for another number of classes, which is drawn anew.

    Raises BackboneError when anything but a head has another size than its configuration says.
    """
    heads = tuple(f"{site.name}." for site in shape.head_sites)
    other = [key if isinstance(key, str) else key[0] for key in info.get("mismatched_keys", ())]
    body = [name for name in other if not name.startswith(heads)]
    if body:
        raise BackboneError(
            f"backbone {options.model!r}: the saved weights do not fit config.json "
            f"({', '.join(sorted(body)[:3])}{', ...' if len(body) > 3 else ''} have another size); "
            "take both files from one checkpoint"
        )
    return other


def _wrap(
    options: BackboneOptions,
    head: Head,
    model: Any,
    tokenizer: Any,
    device: torch.device,
    new_names: frozenset[str],
    rows: int = 0,
    pair: bool = False,
) -> Backbone:
    config = model.config
    kind = kind_of_config(config)
    if kind == "encoder" and head == "causal_lm":
        kind = "decoder"
    trains = pair and options.new_cross_attention == "trained"
    crossing = (lambda name: encoder_decoder.CROSS in name) if trains else None
    sites, blocks = find_sites(model, head, new_names, pair, crossing)
    return Backbone(
        options, head, model, tokenizer, kind, blocks, sites, device, new_names, rows, pair
    )
