"""Finds the sites of a Hugging Face model: every module that owns parameters, in order, with its
kind, role and block."""

from __future__ import annotations

from typing import Any

from torch import nn

from tuneoff.backbones import roles
from tuneoff.backbones.sites import Kind, Site

_NEW_HEADS = ("sequence_classification", "question_answering")


def find_sites(model: Any, head: str, new_names: frozenset[str]) -> tuple[dict[str, Site], int]:
    """Every module that owns parameters, in order, and the number of blocks."""
    prefix = model.base_model_prefix + "."
    owners = [
        (name, module)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    encoder_blocks = 1 + max(
        (roles.block(n) or 0 for n, _ in owners if ".decoder." not in n or ".encoder." in n),
        default=0,
    )
    two_stacks = getattr(model.config, "is_encoder_decoder", False)
    if not two_stacks:
        encoder_blocks = 0
    blocks = (
        encoder_blocks
        + 1
        + max(
            (roles.block(n) or 0 for n, _ in owners if not two_stacks or ".decoder." in n),
            default=0,
        )
    )
    sites = {}
    seen_block = False
    for name, module in owners:
        kind = _module_kind(module)
        index = roles.block(name)
        in_decoder = two_stacks and ".decoder." in name
        outside = not name.startswith(prefix)
        is_head = (outside and head == "sequence_classification") or (
            kind == "linear" and name in new_names and head in _NEW_HEADS
        )
        is_head = is_head or name.rsplit(".", 1)[-1] == "qa_outputs"
        if index is not None:
            seen_block = True
            block = index + (encoder_blocks if in_decoder else 0)
        elif is_head or outside:
            block = blocks + 1
        elif in_decoder:
            block = encoder_blocks if kind == "embedding" else blocks
        else:
            block = blocks if seen_block and kind != "embedding" else -1
            if two_stacks and block == blocks:
                block = encoder_blocks
        sites[name] = Site(name, module, kind, roles.role(name, kind), block, is_head)
    return sites, blocks


def _module_kind(module: nn.Module) -> Kind:
    name = type(module).__name__
    if isinstance(module, nn.Linear) or name in ("Conv1D", "Linear4bit", "Linear8bitLt"):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if "Norm" in name:
        return "norm"
    return "other"
