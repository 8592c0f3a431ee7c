"""Random streams: each member draws from its own, so that no member's numbers depend on who else
is in its cohort, and a resumed member goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_BITS = 1 << 16


class Stream:
    """One member's randomness in training: dropout masks.

    Masks come from 16-bit integers drawn four at a time, which costs a CPU about a quarter of
    `Tensor.bernoulli_`; the keep probability is rounded to 1/65536 and the scale is exact for it.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu"):
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)

    def mask(self, shape: torch.Size | tuple[int, ...], p: float, like: Tensor) -> Tensor:
        """Zeros with probability p, else 1 / (1 - p), in `like`'s dtype and on its device."""
        keep = round((1.0 - p) * _BITS)
        if keep <= 0:
            return torch.zeros(shape, dtype=like.dtype, device=like.device)
        if like.device.type != "cpu":
            mask = torch.empty(shape, dtype=like.dtype, device=like.device)
            return mask.bernoulli_(keep / _BITS, generator=self.generator).mul_(_BITS / keep)
        count = 1
        for size in shape:
            count *= size
        words = torch.empty((count + 3) // 4, dtype=torch.int64)
        words.random_(-(2**63), None, generator=self.generator)
        drawn = words.view(torch.int16)[:count].view(shape)
        return (drawn < keep - _BITS // 2).to(like.dtype).mul_(_BITS / keep)

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """x with dropout p."""
        return x if p == 0.0 else x * self.mask(x.shape, p, x)

    def state(self) -> Tensor:
        """The state to go on from; a byte tensor."""
        return self.generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Go on from `state`."""
        self.generator.set_state(state)


@contextmanager
def as_of(streams: Sequence[Stream], states: Sequence[Tensor]) -> Iterator[None]:
    """Within: the streams draw what they drew from these states on; after, they go on from now."""
    now = [stream.state() for stream in streams]
    try:
        for stream, state in zip(streams, states, strict=True):
            stream.restore(state)
        yield
    finally:
        for stream, state in zip(streams, now, strict=True):
            stream.restore(state)
