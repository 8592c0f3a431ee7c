"""Finds the sites of a Hugging Face model: every module that owns parameters, in order, with its
kind, role and block."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from tuneoff.backbones import roles
from tuneoff.backbones.names import CLASSIFIERS
from tuneoff.backbones.sites import Kind, Site

_LAST = re.compile(r"\.(final_\w*|project_out)$")
"""What OPT lists before its blocks, and runs after them."""
_NEW_HEADS = (*CLASSIFIERS, "question_answering")


def find_sites(
    model: Any,
    head: str,
    new_names: frozenset[str],
    pair: bool = False,
    crossing: Callable[[str], bool] | None = None,
) -> tuple[dict[str, Site], int]:
    """Every module that owns parameters, in order, and the number of blocks.

    An encoder-decoder's blocks are its encoder's, then its decoder's. pair: an encoder twice, of
    which `new_names` are heads; crossing: names that are new whatever was loaded.
    """
    prefix = model.base_model_prefix + "."
    owners = _owners(model)
    two_stacks = getattr(model.config, "is_encoder_decoder", False)
    if two_stacks:
        places, blocks = _in_two_stacks(model, [name for name, _ in owners])
    sites = {}
    if not two_stacks:
        blocks = 1 + max((roles.block(name) or 0 for name, _ in owners), default=0)
    seen_block, early = False, None
    for name, module in owners:
        kind = _module_kind(module)
        index = roles.block(name)
        outside = not f"{name}.".startswith(prefix)  # the body may hold some itself: XLNet
        if two_stacks:
            outside = places[name] > blocks
        is_head = (outside and head in CLASSIFIERS) or (
            kind == "linear" and name in new_names and head in _NEW_HEADS
        )
        is_head = is_head or name.rsplit(".", 1)[-1] == "qa_outputs"
        is_head = is_head or (pair and outside and name in new_names)
        is_head = is_head or (crossing is not None and crossing(name))
        if two_stacks:
            block = places[name]
        elif index is not None:
            seen_block = True
            block = index
        elif is_head or outside:
            block = blocks + 1
        elif kind != "embedding" and _LAST.search(name):
            block = blocks
        else:
            block = blocks if seen_block and kind != "embedding" else -1
            if early is not None and name.startswith(early):
                block = -1
            elif seen_block and kind == "embedding":
                # all blocks read it, and what its parent lists next: DeBERTa's relative positions
                early = name.rpartition(".")[0] + "."
        sites[name] = Site(name, module, kind, roles.role(name, kind), block, is_head)
    return sites, blocks


def _owners(model: Any) -> list[tuple[str, nn.Module]]:
    """Modules with parameters of their own. One that holds nothing but what a module inside of it
    is tied to (the output bias of BERT's head) is left out."""
    owners = [
        (name, module)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    plain = {
        id(p)
        for _, module in owners
        if _module_kind(module) != "other"
        for p in module.parameters(recurse=False)
    }
    return [
        (name, module)
        for name, module in owners
        if _module_kind(module) != "other"
        or any(id(p) not in plain for p in module.parameters(recurse=False))
    ]


def _in_two_stacks(model: Any, names: list[str]) -> tuple[dict[str, int], int]:
    """The place of each module of an encoder-decoder, and the number of blocks.

    What stands before a stack's blocks is at their beginning (-1, or the decoder's first block),
    the encoder's last norm at the decoder's first block, the decoder's at `blocks`, and what is
    in neither stack (a head) beyond.
    """
    base = model.base_model_prefix + "."
    inside = base if hasattr(model, model.base_model_prefix) else ""
    writer = "decoder."
    if hasattr(model, "decoder") and getattr(model.decoder, "get_output_embeddings", None):
        own = getattr(model.decoder, "base_model_prefix", "")
        if own and hasattr(model.decoder, own) and own != "decoder":
            writer = f"decoder.{own}."

    def stack(name: str) -> str | None:
        if not name.startswith(inside):
            return None
        inner = name.removeprefix(inside)
        if inner.startswith("encoder.") or inner.split(".")[0] == "shared":
            return "encoder"
        return "decoder" if inner.startswith(writer) else None

    counts = {
        which: 1 + max((roles.block(n) or 0 for n in names if stack(n) == which), default=-1)
        for which in ("encoder", "decoder")
    }
    places: dict[str, int] = {}
    blocks = counts["encoder"] + counts["decoder"]
    seen = set()
    for name in names:
        which, index = stack(name), roles.block(name)
        if which is None:
            places[name] = blocks + 1
            continue
        begin = counts["encoder"] if which == "decoder" else 0
        if index is not None:
            seen.add(which)
            places[name] = index + begin
        elif which in seen and not name.endswith("layernorm_embedding"):  # BART lists it last
            places[name] = begin + counts[which]
        else:
            places[name] = begin if which == "decoder" else -1
    return places, blocks


def _module_kind(module: nn.Module) -> Kind:
    name = type(module).__name__
    if isinstance(module, nn.Linear) or name in ("Conv1D", "Linear4bit", "Linear8bitLt"):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if "Norm" in name:
        return "norm"
    return "other"
