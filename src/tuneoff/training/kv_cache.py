"""The keys and values of texts that are being written: a prompt's are computed padding-free and
stored, then each new token adds a column and attends to what stands.

Prompts end at one column, so that a new token's column is the same for all rows; shorter ones
leave columns in front free, which no query sees.
Axes: N rows (texts), S sequences of the prompts' layout, G key heads, H heads, E features per head,
W columns of prompts, C columns in all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class KeyValues:
    """One pair of (N, G, C, E) per block, filled by `store`, extended by `attend`; blocks take
    their turn in order."""

    def __init__(self, blocks: int, lengths: Tensor, positions: Tensor):
        """lengths: (S,) tokens of each sequence; positions: (T,) of each token, sequence by
        sequence."""
        self.blocks = blocks
        self.width = self.end = int(lengths.max())
        self.free = self.width - lengths
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.mask: Tensor | None = None
        self._turn = 0
        self._row_T = _rows_of(lengths)
        self._column_T = positions + self.free[self._row_T]

    @property
    def writing(self) -> bool:
        """Whether the prompts are stored and single tokens follow."""
        return len(self.keys) == self.blocks

    def store(self, k: Tensor, v: Tensor, key_heads: int) -> None:
        """A block's keys and values of all prompts; k, v: (T, G * E)."""
        for into, x in ((self.keys, k), (self.values, v)):
            shape = (len(self.free), self.width)
            into.append(_padded(x, key_heads, shape, self._row_T, self._column_T))

    def open(self, room: int, copies: int) -> None:
        """Room for new tokens, and each row `copies` times over."""
        self.free = self.free.repeat_interleave(copies)
        for kept in (self.keys, self.values):
            for block, x in enumerate(kept):
                wide = x.new_empty((x.shape[0] * copies, x.shape[1], self.width + room, x.shape[3]))
                wide[:, :, : self.width] = x.repeat_interleave(copies, 0) if copies > 1 else x
                kept[block] = wide
        self._see()

    def _see(self) -> None:
        """What queries see: (N, 1, 1, C) 0 or -inf, or None where all columns are taken."""
        if not bool(self.free.any()):
            self.mask = None
            return
        like = self.keys[0]
        columns = torch.arange(like.shape[2], device=self.free.device)
        mask = torch.zeros((len(self.free), like.shape[2]), dtype=like.dtype, device=like.device)
        mask.masked_fill_(columns < self.free[:, None], float("-inf"))
        self.mask = mask[:, None, None, :]

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        scale: float,
        window: int | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """One new token per row over all that stands, itself included; q: (N, H * E),
        k, v: (N, G * E) -> (N, H * E). window: as in `attention.attend`; bias: (N or 1, H, 1, end +
        1) added to the scores, where no row has free columns."""
        keys, values = self.keys[self._turn], self.values[self._turn]
        self._turn = (self._turn + 1) % self.blocks
        rows, key_heads, _, width = keys.shape
        keys[:, :, self.end] = k.view(rows, key_heads, width)
        values[:, :, self.end] = v.view(rows, key_heads, width)
        until = self.end + 1
        seen = slice(0 if window is None else max(0, until - window), until)
        mask = None if self.mask is None else self.mask[..., seen]
        if bias is not None:
            assert mask is None, "a bias is added to all that stands"
            mask = bias.to(q.dtype)
        out = F.scaled_dot_product_attention(
            q.view(rows, key_heads, heads // key_heads, width),
            keys[:, :, seen],
            values[:, :, seen],
            attn_mask=mask,
            scale=scale,
        )
        return out.reshape(rows, heads * width)

    def step(self) -> None:
        """The next token's column, after every block had its turn."""
        assert self._turn == 0, "a block has not attended"
        self.end += 1

    def keep(self, rows: Tensor) -> None:
        """These rows alone, in this order; rows: (n,)."""
        self.free = self.free[rows]
        for kept in (self.keys, self.values):
            for block, x in enumerate(kept):
                fewer = x.new_empty((len(rows), *x.shape[1:]))
                fewer[:, :, : self.end] = x[:, :, : self.end].index_select(0, rows)
                kept[block] = fewer
        self._see()

    def reorder(self, rows: Tensor) -> None:
        """Row i goes on from what row `rows[i]` wrote, a copy of the same prompt: (N,)."""
        written = slice(self.width, self.end)
        for x in (*self.keys, *self.values):
            x[:, :, written] = x[:, :, written].index_select(0, rows)


class Memory:
    """Keys and values of what an encoder says of each prompt, (S, H, W, E) per block of the
    decoder: computed once, the same for all texts of a prompt. Blocks take their turn in order."""

    def __init__(self, lengths: Tensor, positions: Tensor):
        """lengths: (S,), positions: (T,), as of `KeyValues`."""
        self.blocks: list[tuple[Tensor, Tensor]] = []
        self.copies = 1
        self._shape = (len(lengths), int(lengths.max()))
        self._row_T, self._column_T = _rows_of(lengths), positions
        columns = torch.arange(self._shape[1], device=lengths.device)
        self.beyond = columns >= lengths[:, None]
        self._turn = 0

    def store(self, k: Tensor, v: Tensor, heads: int) -> None:
        """A block's keys and values; k, v: (T, H * E)."""
        places = (heads, self._shape, self._row_T, self._column_T)
        self.blocks.append((_padded(k, *places), _padded(v, *places)))

    def open(self, copies: int) -> None:
        """From now on every prompt has so many texts."""
        self.copies = copies

    def attend(self, q: Tensor, heads: int, scale: float) -> Tensor:
        """One token of every text to its prompt: (N, H * E) -> (N, H * E), N = S * copies."""
        keys, values = self.blocks[self._turn]
        self._turn = (self._turn + 1) % len(self.blocks)
        mask = torch.zeros(self.beyond.shape, dtype=q.dtype, device=q.device)
        mask = mask.masked_fill(self.beyond, float("-inf"))[:, None, None]
        out = F.scaled_dot_product_attention(
            q.view(len(keys), self.copies, heads, -1).transpose(1, 2),
            keys.to(q.dtype),
            values.to(q.dtype),
            attn_mask=mask,
            scale=scale,
        )
        return out.transpose(1, 2).reshape(len(q), -1)

    def keep(self, rows: Tensor) -> None:
        """The texts of these rows alone, all of a prompt or none."""
        prompts = rows[:: self.copies] // self.copies
        self.beyond = self.beyond[prompts]
        self.blocks = [(k[prompts], v[prompts]) for k, v in self.blocks]


def _rows_of(lengths: Tensor) -> Tensor:
    """(T,) the sequence of each token."""
    return torch.repeat_interleave(torch.arange(len(lengths)).to(lengths), lengths)


def _padded(
    x: Tensor, heads: int, shape: tuple[int, int], row_T: Tensor, column_T: Tensor
) -> Tensor:
    """(T, H * E) as (S, H, W, E), zeros where nothing stands; shape: (S, W)."""
    rows = x.unflatten(1, (heads, -1))
    padded = x.new_zeros((*shape, *rows.shape[1:]))
    padded[row_T, column_T] = rows
    return padded.transpose(1, 2)
