"""Tokens that a task adds to a decoder's tokenizer (`<sum>`): an embedding each, and its training.

A new token's embedding begins as the mean of all others (Hewitt 2021, "Initializing New Word
Embeddings for Pretrained Language Models"), so that nothing is drawn. Full fine-tuning trains it
with all embeddings. Methods whose gradients reach the embeddings anyway (their lowest trained
block is the first) train it beside their own weights, the output layer's row with it where the two
are tied, as PEFT's `trainable_token_indices` does. Methods that train the top alone leave it as it
began: it would force them through the whole model, which they are there to avoid.

Axes: T tokens, R rows of the head, N new tokens, D features, V vocabulary before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tuneoff.backbones.sites import Hook, Own, Site

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone


def add_to_tokenizer(tokenizer: Any, tokens: Sequence[str]) -> None:
    """Tokens that the tokenizer does not know become special tokens of it."""
    known = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in known]
    if missing:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": missing}, replace_extra_special_tokens=False
        )


@torch.no_grad()
def grow(model: Any, tokenizer: Any) -> int:
    """Room for the tokenizer's newest tokens in the embeddings; -> how many rows are new."""
    before = model.get_input_embeddings().weight.shape[0]
    new = len(tokenizer) - before
    if new <= 0:
        return 0
    if hasattr(model, "resize_token_embeddings"):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    else:
        _resize(model, new)
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    for table in [table for table in tables if table is not None]:
        if table.weight.device.type != "meta":
            table.weight[before:] = table.weight[:before].double().mean(0).to(table.weight.dtype)
            if getattr(table, "bias", None) is not None:
                table.bias[before:] = table.bias[:before].mean()
    return int(new)


def _resize(model: Any, new: int) -> None:
    """More rows in the tables of a model of ours."""
    words, output = model.get_input_embeddings(), model.get_output_embeddings()
    for table in [words, *([] if output is None or output.weight is words.weight else [output])]:
        more = table.weight.new_zeros((new, table.weight.shape[1]))
        table.weight = nn.Parameter(torch.cat([table.weight, more]), requires_grad=False)
    model.config = dataclasses.replace(model.config, vocab_size=len(words.weight))
    words.num_embeddings = len(words.weight)
    if output is not None:
        output.out_features = words.num_embeddings
    model.tie()


def _table(site: Site) -> Tensor:
    """(V + N, D) frozen embeddings."""
    weight: Any = site.module.weight
    return weight  # type: ignore[no-any-return]


class NewRows(Hook):
    """The trained embeddings of new tokens, the last of the vocabulary. rows: (N, D)."""

    def __init__(self, rows: nn.Parameter, site: Site):
        super().__init__()
        self.rows = rows
        self.first = _table(site).shape[0] - len(rows)

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        place = x_tI - self.first
        own = self.rows[place.clamp(min=0)].to(y_tO.dtype)
        return torch.where((place >= 0)[..., None], own, y_tO)

    def merged(self, site: Site) -> dict[str, Tensor]:
        table = _table(site).detach()
        weight = (table if table.dtype == torch.float64 else table.float()).clone()
        weight[self.first :] = self.rows.detach()
        return {"weight": weight}


class NewOutputs(NewRows):
    """The same rows where they are the last of an output layer that is tied to the embeddings."""

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        own = nn.functional.linear(x_tI, self.rows.to(x_tI.dtype))
        return torch.cat([y_tO[..., : self.first], own.to(y_tO.dtype)], -1)


def hooks_of(backbone: Backbone, method_hooks: dict[str, Hook]) -> dict[str, Hook]:
    """A run's hooks: the method's, and those for what is new in the backbone: an own copy of each
    new head, and the embeddings of new tokens."""
    hooks = dict(method_hooks)
    reached = min((backbone.sites[name].block for name in hooks), default=backbone.blocks) <= 0
    if backbone.new_rows and reached:
        _add_rows(backbone, hooks)
    for site in backbone.head_sites:
        if site.name not in hooks:
            hooks[site.name] = Own(site)
    return hooks


def _add_rows(backbone: Backbone, hooks: dict[str, Hook]) -> None:
    tables = {
        NewRows: backbone.model.get_input_embeddings(),
        NewOutputs: backbone.model.get_output_embeddings(),
    }
    weight = tables[NewRows].weight
    found = {
        kind: site
        for kind, table in tables.items()
        for site in backbone.sites.values()
        if site.module is table and site.module.weight is weight
    }
    if found[NewRows].name in hooks:
        return
    own = weight[-backbone.new_rows :].detach().clone()
    rows = nn.Parameter(own if own.dtype == torch.float64 else own.float())
    for kind, site in found.items():
        if site.name not in hooks:
            hooks[site.name] = kind(rows, site)
