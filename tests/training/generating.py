"""Tiny language models and prompts for the tests of generation, and transformers' own answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from tests.backbones import tiny
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, _wrap, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.registry import get

LENGTHS = (7, 1, 12, 3, 12, 20, 9, 16, 2, 5, 11, 8, 30, 4, 6, 10)
ENDS = tuple(range(0, 100, 8))
"""Tokens that end a text: several, so that random models end at many lengths."""


def decoder(architecture: str, folder: Path, double: bool = True) -> Backbone:
    """A decoder that says more than one word; see `sharpened`."""
    backbone = load(
        BackboneOptions(str(tiny.save(architecture, folder / architecture, "causal_lm"))),
        "causal_lm",
    )
    return sharpened(backbone, double)


def sharpened(backbone: Backbone, double: bool, by: float = 4.0, seed: int = 1) -> Backbone:
    """Larger weights and an output layer of its own: random models at their initial scale, whose
    output layer is tied to what they read, say one word over and over."""
    model, generator = backbone.model, torch.Generator().manual_seed(seed)
    output = model.get_output_embeddings()
    output.weight = torch.nn.Parameter(output.weight.detach().clone(), requires_grad=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, by * parameter.shape[-1] ** -0.5, generator=generator)
    if double:
        model.double()
    return backbone


def prompts(count: int = len(LENGTHS), seed: int = 0) -> list[list[int]]:
    """Random token ids of many lengths."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 100, length).tolist() for length in LENGTHS[:count]]


def member(backbone: Backbone, method: str = "lora", seed: int = 0, **settings: Any) -> Any:
    """What generation reads of a member, its hooks as after training: not at their start."""
    generator = torch.Generator().manual_seed(seed)
    hooks = dict(get("methods", method)(**settings).build(backbone, generator))
    dtype = backbone.model.dtype
    for hook in hooks.values():
        hook.to(dtype).eval()
        with torch.no_grad():
            for parameter in hook.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return SimpleNamespace(hooks=hooks, spec=SimpleNamespace(seed=seed))


def carrying(backbone: Backbone, members: Sequence[Any], padded: bool = False) -> Any:
    """What generation reads of `Passes`."""
    family: Any = None if padded else family_of(backbone)
    passes = SimpleNamespace(
        material=SimpleNamespace(backbone=backbone),
        family=family or Padded(backbone),
        padded=family is None,
        precision=nullcontext,
        set_training=lambda training: None,
    )

    def carry(carried: Sequence[Any]) -> None:
        passes.members = list(carried)
        attach(backbone, [each.hooks for each in carried])

    passes.carry = carry
    carry(members)
    return passes


@contextmanager
def merged(backbone: Backbone, of: Any) -> Iterator[None]:
    """Within: the model's own weights are those of a member, without hooks."""
    attach(backbone, [])
    before = copy.deepcopy(backbone.model.state_dict())
    with torch.no_grad():
        for name, hook in of.hooks.items():
            site = backbone.sites[name]
            for key, value in hook.merged(site).items():
                getattr(site.module, key).copy_(value)
    yield
    backbone.model.load_state_dict(before)


def plain(backbone: Backbone, padded: bool = False) -> Any:
    """The backbone as it is, as one member without hooks."""
    bare = SimpleNamespace(hooks={}, spec=SimpleNamespace(seed=0))
    return carrying(backbone, [bare], padded)


def answers_of_transformers(
    backbone: Backbone, texts: Sequence[Sequence[int]], batch: int = 16, **settings: Any
) -> list[list[int]]:
    """`model.generate` in batches, decoders padded on the left; cut at the end of text."""
    model, config = backbone.model, backbone.config
    encodes = bool(config.is_encoder_decoder)
    found = []
    for start in range(0, len(texts), batch):
        part = texts[start : start + batch]
        width = max(map(len, part))
        ids = torch.zeros((len(part), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(part):
            place = slice(0, len(text)) if encodes else slice(width - len(text), width)
            ids[row, place], mask[row, place] = torch.tensor(text), 1
        out = model.generate(
            input_ids=ids, attention_mask=mask, pad_token_id=0, eos_token_id=list(ENDS), **settings
        )
        for row in out[:, 1 if encodes else width :].tolist():
            ends = [place for place, token in enumerate(row) if token in ENDS]
            found.append(row[: ends[0]] if ends else row)
    return found


def encoder_decoder(architecture: str, double: bool = True) -> Backbone:
    """`t5`, `t5_gated`, `umt5`, or `bert2bert` (transformers' EncoderDecoderModel)."""
    import transformers as t

    torch.manual_seed(0)
    if "t5" in architecture:
        model = t.AutoModelForSeq2SeqLM.from_config(tiny.configs()[architecture])
    else:
        reader, writer = tiny.configs()["bert"], tiny.configs()["bert"]
        writer.is_decoder = writer.add_cross_attention = True
        model = t.EncoderDecoderModel(
            encoder=t.BertModel(reader), decoder=t.BertLMHeadModel(writer)
        )
        for config in (model.config, model.generation_config):
            config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    model.eval().requires_grad_(False)
    options = BackboneOptions(architecture)
    backbone = _wrap(options, "seq2seq_lm", model, None, torch.device("cpu"), frozenset())
    return sharpened(backbone, double, *((4.0, 1) if "t5" in architecture else (1.0, 3)))
