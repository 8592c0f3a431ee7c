"""Steps of an encoder-decoder with a family: the encoder reads the prompts once, padding-free, and
the decoder then writes one token per text at a time, with all members at once.

Axes: K members, P prompts, S sequences (K * P), N rows (texts: members, prompts, beams), T tokens
of prompts, H heads, E features per head, V vocabulary.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.backbones.sites import Bounds, Site
from tuneoff.training.kv_cache import KeyValues, Memory
from tuneoff.training.layout import Layout
from tuneoff.training.prompts import start_of_text
from tuneoff.training.steps import Prompts, layout_of, single_tokens


class TwoStackSteps:
    """The encoder once for all texts of a prompt, and once for all members where none of them
    changes it; its keys and values for cross-attention once for all steps."""

    def __init__(self, family: Any, members: int):
        self.family, self.members = family, members
        self.device: torch.device = family.backbone.device
        self.cache: KeyValues
        self.memory: Memory
        self.tables: list[Tensor]
        """(K or 1, H, 2 * room - 1) the bias of each distance: of each block, or one for all."""
        self.owner: np.ndarray
        """(N,) the member of each row."""

    def __enter__(self) -> TwoStackSteps:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def history(self, prompts: Prompts) -> Tensor:
        return torch.full(
            (len(prompts), 1), start_of_text(self.family.backbone), device=self.device
        )

    @torch.no_grad()
    def begin(self, prompts: Prompts, room: int, beams: int) -> Tensor:
        self._read(prompts)
        count = self.members * len(prompts)
        self.owner = np.repeat(np.arange(self.members), len(prompts))
        blocks = len(self.family.decoder) if self.family.own_tables else 1
        self.tables = [
            self.family.table("decoder", index, self.members, room) for index in range(blocks)
        ]
        tokens = self.history(prompts).flatten().repeat(self.members)
        ones = torch.ones(count, dtype=torch.int64, device=self.device)
        self.cache = KeyValues(len(self.family.decoder), ones, torch.zeros_like(ones))
        logits = self._say(tokens)
        self.cache.open(room - 1, beams)  # the last new token is not read again
        self.memory.open(beams)
        self.owner = np.repeat(self.owner, beams)
        return logits

    def _read(self, prompts: Prompts) -> None:
        """The encoder reads, and what it says becomes keys and values."""
        family = self.family
        alike = family.reads_alike()
        layout = layout_of(prompts, 1 if alike else self.members, self.device)
        states = family.encode(layout)
        tokens = len(states) if alike else len(states) // self.members
        edges = [tokens * member for member in range(self.members + 1)]
        bounds = list(itertools.pairwise(edges))
        copies = self.members if alike else 1
        self.memory = Memory(layout.lengths.repeat(copies), layout.positions.repeat(copies))
        for keys, values in family.remember(states, bounds, alike):
            self.memory.store(keys, values, family.heads)

    def _say(self, tokens: Tensor) -> Tensor:
        layout = single_tokens(tokens, torch.zeros_like(tokens), self.owner, self.members)
        logits: Tensor = self.family.say(layout, _Writing(self, layout))
        return logits

    @torch.no_grad()
    def advance(self, tokens: Tensor) -> Tensor:
        logits = self._say(tokens)
        self.cache.step()
        return logits

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)
        self.memory.keep(rows)
        self.owner = self.owner[rows.cpu().numpy()]

    def reorder(self, rows: Tensor) -> None:
        self.cache.reorder(rows)  # what the encoder said is the same for all beams of a prompt

    def biases(self) -> list[Tensor]:
        """(N or 1, H, 1, end + 1) for a token at the cache's end, of itself and those before it: of
        each block, or one for all."""
        owner = torch.from_numpy(self.owner).to(self.device)
        made = []
        for table in self.tables:
            reach = (table.shape[2] + 1) // 2
            near = table[:, :, reach - 1 - self.cache.end : reach, None].mT
            made.append(near if len(near) == 1 else near[owner])
        return made


class _Writing:
    """`families.stack_attention.Said`, of one new token per text."""

    def __init__(self, steps: TwoStackSteps, layout: Layout):
        self.steps, self.layout = steps, layout
        self.bounds: Bounds = layout.token_bounds
        self.biases = steps.biases() if steps.cache.writing else None

    def attend(
        self,
        index: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        last: bool,  # noqa: ARG002
    ) -> Tensor:
        family, cache = self.steps.family, self.steps.cache
        if self.biases is None:  # the token that begins a text sees itself alone
            cache.store(k, v, family.heads)
            return v
        k, v = k.to(q.dtype), v.to(q.dtype)  # as `sides.attend_sides`
        bias = self.biases[min(index, len(self.biases) - 1)]
        return cache.attend(q, k, v, family.heads, family.scale, bias=bias)

    def look_up(self, q: Tensor, key: Site, value: Site, last: bool) -> Tensor:  # noqa: ARG002
        family = self.steps.family
        return self.steps.memory.attend(q, family.heads, family.scale)
