"""A batch without its padding: the real tokens end to end, and the way back to rows.

Axes: B rows, L columns of the batch as given, T real tokens, W columns of the longest row, C with
what a cache holds, H heads, E features per head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tuneoff.errors import DataError


class Packed:
    """The T real tokens of a (B, L) batch: `row_T`; `column_T`, from the left in a grid of W
    columns; `position_T`, counting what a cache holds, below `reach`; `last_B`, each row's last."""

    def __init__(self, real_BL: Tensor, past_B: Tensor | None = None):
        length_B = real_BL.sum(1)
        if int(length_B.min()) == 0:
            raise DataError(
                "GPT-2: a row of the batch has no token (its attention_mask is all zero); "
                "give at least one, e.g. the end-of-text token"
            )
        self.rows, self.columns = real_BL.shape
        self.width = int(length_B.max())
        self.source_T = real_BL.flatten().nonzero().squeeze(1)
        self.row_T = self.source_T // self.columns
        self.column_T = (real_BL.cumsum(1) - 1).flatten()[self.source_T]
        self.position_T = self.column_T if past_B is None else self.column_T + past_B[self.row_T]
        self.reach = int(self.position_T.max()) + 1
        self.last_B = length_B.cumsum(0) - 1
        self.place_T = self.row_T * self.width + self.column_T
        self.is_grid = len(self.place_T) == self.rows * self.width

    def take(self, x_BL: Tensor) -> Tensor:
        """(B, L, ...) -> (T, ...)."""
        x_T: Tensor = x_BL.flatten(0, 1)[self.source_T]
        return x_T

    def put_back(self, x_T: Tensor) -> Tensor:
        """(T, ...) -> (B, L, ...), zero where there is no token."""
        whole = x_T.new_zeros((self.rows * self.columns, *x_T.shape[1:]))
        padded: Tensor = whole.index_copy(0, self.source_T, x_T)
        return padded.unflatten(0, (self.rows, self.columns))  # type: ignore[no-any-return]

    def grid(self, x_TD: Tensor, heads: int) -> Tensor:
        """(T, H * E) -> (B, H, W, E)."""
        if not self.is_grid:
            whole = x_TD.new_zeros((self.rows * self.width, x_TD.shape[1]))
            x_TD = whole.index_copy(0, self.place_T, x_TD)
        return x_TD.view(self.rows, self.width, heads, -1).transpose(1, 2)

    def flat(self, x_BHWE: Tensor) -> Tensor:
        """(B, H, W, E) -> (T, H * E)."""
        x = x_BHWE.transpose(1, 2).flatten(0, 1).flatten(1)
        return x if self.is_grid else x.index_select(0, self.place_T)

    def sees(self, columns: int) -> Tensor:
        """(B, 1, W, C): whether a token sees a column of the cache: its own, and those before."""
        position_BW = self.position_T.new_zeros((self.rows, self.width))
        position_BW[self.row_T, self.column_T] = self.position_T
        column_C = torch.arange(columns, device=position_BW.device)
        return (column_C <= position_BW[:, :, None])[:, None]
