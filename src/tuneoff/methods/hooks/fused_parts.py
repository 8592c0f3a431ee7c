"""The low-rank hook of a fused projection of which some parts alone are updated: keys and values
of GPT-2's query, key and value in one.

Every part has factors of its own; seen from outside they are one update of the parts' ranks
together, with zeros where a part is not one's own.

Axes: I features in, O out, P parts that are updated, r rank of each, D = O / 3 features of a part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuneoff.backbones.sites import Site
from tuneoff.methods.hooks.low_rank import LowRank

PARTS = ("query", "key", "value")


class FusedParts(LowRank):
    """A: (P * r, I), B: (P * D, r), part under part, in the projection's order.

    Source: `MergedLinear` with `enable_lora` in microsoft/LoRA (Hu et al. 2021).
    """

    def __init__(
        self,
        site: Site,
        rank: int,
        scaling: float,
        dropout: float,
        b_ratio: float,
        generator: torch.Generator,
        parts: Sequence[str],
    ):
        self.parts = [place for place, name in enumerate(PARTS) if name in parts]
        super().__init__(site, rank * len(self.parts), scaling, dropout, b_ratio, generator)
        width = site.out_features // len(PARTS)
        self.B = nn.Parameter(self.B.new_zeros((len(self.parts) * width, rank)))

    def factors(self) -> tuple[Tensor, Tensor]:
        """(P * r, I) and (O, P * r)."""
        width, rank = len(self.B) // len(self.parts), self.B.shape[1]
        rows, last = [], len(self.parts) - 1
        for place in range(len(PARTS)):
            if place in self.parts:
                i = self.parts.index(place)
                own = self.B[i * width : (i + 1) * width]
                rows.append(F.pad(own, (i * rank, (last - i) * rank)))
            else:
                rows.append(self.B.new_zeros((width, len(self.A))))
        return self.A, torch.cat(rows)

    def take(self, up_OR: Tensor) -> Tensor:
        """B out of what `factors` makes of it."""
        width, rank = len(self.B) // len(self.parts), self.B.shape[1]
        return torch.cat(
            [
                up_OR[place * width : (place + 1) * width, i * rank : (i + 1) * rank]
                for i, place in enumerate(self.parts)
            ]
        )


def has_parts(site: Site) -> bool:
    """Whether a site is a fused projection whose parts stand one after another: GPT-2's. Others
    mix them head by head (GPT-NeoX), or have fewer keys than queries."""
    thirds = site.out_features == len(PARTS) * site.in_features
    return site.name.endswith("attn.c_attn") and thirds
