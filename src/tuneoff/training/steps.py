"""Steps: a backbone reads prompts, then one new token per text at a time, with what it has read
kept.

`FamilySteps` writes with all members at once through a decoder family's padding-free forward, as
`two_stacks.TwoStackSteps` does through an encoder-decoder's; `ModelSteps` goes through the Hugging
Face model's own forward, one member alone, where there is no family.
Axes: K members, P prompts, N rows (texts: members, their prompts, the prompts' beams, nested in
this order), V vocabulary.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.attach import intercepted
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.training.kv_cache import KeyValues
from tuneoff.training.layout import Layout
from tuneoff.training.prompts import start_of_text

Prompts = Sequence[Sequence[int]]


class Steps(Protocol):
    """What a search needs of a backbone."""

    device: torch.device
    members: int

    def history(self, prompts: Prompts) -> Tensor:
        """(P, W) tokens that stand in front of a new text, -1 on the left where there are none."""

    def begin(self, prompts: Prompts, room: int, beams: int) -> Tensor:
        """(K * P, V) logits after each prompt, with room for so many new tokens; from then on
        every prompt has `beams` rows."""

    def advance(self, tokens: Tensor) -> Tensor:
        """(N, V) logits after one more token of every row."""

    def keep(self, rows: Tensor) -> None:
        """These rows alone, in ascending order."""

    def reorder(self, rows: Tensor) -> None:
        """Row i goes on from row `rows[i]` of the same prompt."""


def steps_of(backbone: Backbone, family: Any, members: int) -> AbstractContextManager[Steps]:
    """The steps of a backbone for one batch of prompts, as a context."""
    if isinstance(family, Family):
        if backbone.kind == "encoder_decoder":
            from tuneoff.training.two_stacks import TwoStackSteps

            return TwoStackSteps(family, members)
        return FamilySteps(family, members)
    assert members == 1, "a model's own forward knows of one member's rows"
    return ModelSteps(backbone)


class FamilySteps:
    """Padding-free prompts, then one token per row; hooks see each member's rows."""

    def __init__(self, family: Family, members: int):
        self.family, self.members = family, members
        self.device = family.backbone.device
        self.cache: KeyValues
        self.positions: Tensor
        self.owner: np.ndarray
        """(N,) the member of each row."""

    def __enter__(self) -> FamilySteps:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def history(self, prompts: Prompts) -> Tensor:
        return _left_padded(prompts, -1).to(self.device)

    @torch.no_grad()
    def begin(self, prompts: Prompts, room: int, beams: int) -> Tensor:
        layout = layout_of(prompts, self.members, self.device)
        length_S = layout.lengths
        layout.cache = self.cache = KeyValues(self.family.blocks, length_S, layout.positions)
        logits: Tensor = self.family.forward(layout)
        self.cache.open(room - 1, beams)  # the last new token is not read again
        self.positions = length_S.repeat_interleave(beams)
        self.owner = np.repeat(np.arange(self.members), len(prompts) * beams)
        return logits

    @torch.no_grad()
    def advance(self, tokens: Tensor) -> Tensor:
        layout = single_tokens(tokens, self.positions, self.owner, self.members)
        layout.cache = self.cache
        logits: Tensor = self.family.forward(layout)
        self.cache.step()
        self.positions = self.positions + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)
        self.positions = self.positions[rows]
        self.owner = self.owner[rows.cpu().numpy()]

    def reorder(self, rows: Tensor) -> None:
        self.cache.reorder(rows)


def layout_of(prompts: Prompts, members: int, device: torch.device) -> Layout:
    """The layout in which each of so many members reads all prompts."""
    lengths = np.array([len(prompt) for prompt in prompts])
    assert (np.diff(lengths) <= 0).all(), "prompts stand longest first, as layouts do"
    features = Features(
        np.concatenate([np.asarray(prompt, np.int32) for prompt in prompts]),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.zeros(len(prompts), np.int64),
    )
    return layouts.build(features, [np.arange(len(prompts))] * members, "last", device)


def single_tokens(tokens: Tensor, positions: Tensor, owner: np.ndarray, members: int) -> Layout:
    """One new token per row, (N,), of the members `owner`, (N,) ascending."""
    edges = np.searchsorted(owner, np.arange(members + 1)).tolist()
    bounds = list(itertools.pairwise(edges))
    return Layout(
        ids=tokens,
        positions=positions,
        token_type=None,
        token_bounds=bounds,
        row_bounds=bounds,
        rows=torch.arange(len(tokens), device=tokens.device),
        targets=tokens,
        form="token",
        lengths=torch.ones_like(tokens),
        sequence_of_loss=np.arange(len(tokens)),
        decoder_targets=None,
        decoder_lengths=None,
        sequence_bounds=bounds,
        order=np.zeros(0, np.int64),
        token_index=np.zeros(0, np.int64),
        groups=[],
        one_row_per_sequence=False,
        streams=None,
        dropout_rates=[None] * members,
    )


class ModelSteps:
    """The Hugging Face model's own forward with its own cache, through the sites."""

    members = 1

    def __init__(self, backbone: Backbone):
        self.backbone, self.model = backbone, backbone.model
        self.device = backbone.device
        self.encodes = backbone.kind == "encoder_decoder"
        self.accepted = set(inspect.signature(self.model.forward).parameters)
        self.bounds = [(0, 0)]
        self.kept: dict[str, Any] = {}
        """What every step is given again."""
        self.cache: Any = None
        self._context = ExitStack()

    def __enter__(self) -> ModelSteps:
        self.model.eval()
        self._context.enter_context(intercepted(self.backbone, self.bounds))
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.close()

    def history(self, prompts: Prompts) -> Tensor:
        if self.encodes:
            return torch.full((len(prompts), 1), start_of_text(self.backbone), device=self.device)
        return _left_padded(prompts, -1).to(self.device)

    @torch.no_grad()
    def begin(self, prompts: Prompts, room: int, beams: int) -> Tensor:  # noqa: ARG002 - it grows
        logits = self._read(prompts) if self.encodes else self._continue(prompts)
        if beams > 1:
            self.cache.batch_repeat_interleave(beams)
            self._each(lambda x: x.repeat_interleave(beams, 0))
        return logits

    def _read(self, prompts: Prompts) -> Tensor:
        """An encoder reads the prompts, once; the decoder its start token."""
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        ids = torch.full(mask.shape, self.model.config.pad_token_id or 0)
        ids[mask.bool()] = torch.tensor([token for prompt in prompts for token in prompt])
        self.bounds[0] = (0, len(prompts))
        mask = mask.to(self.device)
        states = self.model.get_encoder()(input_ids=ids.to(self.device), attention_mask=mask)[0]
        self.kept = {"attention_mask": mask, "encoder_outputs": states}
        return self._forward(self.history(prompts))

    def _continue(self, prompts: Prompts) -> Tensor:
        """A decoder reads the prompts, padded on the left."""
        ids = _left_padded(prompts, -1).to(self.device)
        mask = (ids >= 0).long()
        self.kept = {"attention_mask": mask}
        if "position_ids" in self.accepted:
            self.kept["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return self._forward(ids.clamp(min=0))

    def _forward(self, ids: Tensor) -> Tensor:
        """(N, V) logits after the last of (N, L) tokens."""
        self.bounds[0] = (0, len(ids))
        given = dict(self.kept)
        if self.encodes:
            given["encoder_outputs"] = (given["encoder_outputs"],)
        elif "logits_to_keep" in self.accepted:
            given["logits_to_keep"] = 1
        given["decoder_input_ids" if self.encodes else "input_ids"] = ids
        out = self.model(**given, past_key_values=self.cache, use_cache=True, return_dict=True)
        self.cache = out.past_key_values
        return out.logits[:, -1]  # type: ignore[no-any-return]

    @torch.no_grad()
    def advance(self, tokens: Tensor) -> Tensor:
        if not self.encodes:
            mask = self.kept["attention_mask"]
            self.kept["attention_mask"] = torch.cat([mask, mask.new_ones((len(mask), 1))], 1)
            if "position_ids" in self.kept:
                self.kept["position_ids"] = self.kept["position_ids"][:, -1:] + 1
        return self._forward(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self._each(lambda x: x[rows])

    def reorder(self, rows: Tensor) -> None:
        # What the encoder said is the same for all beams of a prompt.
        getattr(self.cache, "self_attention_cache", self.cache).reorder_cache(rows)

    def _each(self, change: Any) -> None:
        self.kept = {name: change(value) for name, value in self.kept.items()}


def _left_padded(prompts: Prompts, fill: int) -> Tensor:
    """(P, W) tokens that end at one column."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), fill, np.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[width - len(prompt) :] = prompt
    return torch.from_numpy(ids)
