"""The decomposed hook (DoRA): y = m / n * (W + scaling B A) x + b, n = ||W + scaling B A||.

Axes: t rows of one member, I features in, O out, r rank.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuneoff.backbones.sites import Affine, Site
from tuneoff.methods.hooks import folded
from tuneoff.methods.hooks.low_rank import LowRank


class Decomposed(LowRank):
    """Low-rank factors and `magnitude`: (O,), the norms of the frozen weight's rows at the start.

    Source: Liu et al. 2024 (DoRA, arXiv 2402.09353); the norm is constant in the gradient.
    """

    fused: ClassVar[None] = None  # type: ignore[assignment]  # the norm is each member's own

    def __init__(
        self,
        site: Site,
        rank: int,
        scaling: float,
        dropout: float,
        b_ratio: float,
        generator: torch.Generator,
    ):
        super().__init__(site, rank, scaling, dropout, b_ratio, generator)
        norms = torch.linalg.vector_norm(site.weight().detach().to(self.A.dtype), dim=1)
        self.magnitude = nn.Parameter(norms.clone())

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        dtype = self.A.dtype
        share = (self.magnitude / self._norms(site)).to(dtype)
        y = y_tO.to(dtype)
        if self.training and self.p > 0.0:  # PEFT: the decomposed part sees the dropped input
            entered = self.dropout(x_tI.to(dtype), self.p)
            frozen = F.linear(entered, site.weight().to(dtype))
        else:
            entered = x_tI.to(dtype)
            frozen = y if site.bias is None else y - site.bias
        update = F.linear(F.linear(entered, self.A), self.B) * self.scaling
        return (y + (share - 1) * frozen + share * update).to(y_tO.dtype)

    def affine(self, site: Site) -> Affine | None:
        plain = super().affine(site)
        if plain is None:
            return None
        return plain[0] * (self.magnitude / self._norms(site))[:, None], site.bias

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        share = (self.magnitude / self._norms(site)).detach()
        return folded(site, share[:, None] * self._direction(site))

    def _direction(self, site: Site) -> Tensor:
        """(O, I), outside of the gradient."""
        with torch.no_grad(), torch.autocast(self.A.device.type, enabled=False):
            return torch.addmm(site.weight().to(self.A.dtype), self.B, self.A, alpha=self.scaling)

    def _norms(self, site: Site) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(self._direction(site), dim=1)
        return norms
