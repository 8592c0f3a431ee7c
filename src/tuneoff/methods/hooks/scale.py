"""The scale hooks: a learned vector times what leaves a linear site, or what enters it.

Axes: t rows of one member, I features in, O out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tuneoff.backbones.sites import Affine, Hook, Site
from tuneoff.methods.hooks import folded, trained_dtype


class OutputScale(Hook):
    """y * l with l: (O, 1) ones, in PEFT's shape."""

    def __init__(self, site: Site):
        super().__init__()
        self.l = nn.Parameter(torch.ones((site.out_features, 1), dtype=trained_dtype(site)))

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        return (y_tO * self.l.flatten()).to(y_tO.dtype)

    def affine(self, site: Site) -> Affine:
        bias = site.bias
        return site.weight() * self.l, None if bias is None else bias * self.l.flatten()

    def decays(self, name: str) -> bool:
        return False  # toward zero would be toward silence: the frozen model stands at one

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        scale = self.l.detach()
        bias = None if site.bias is None else site.bias.to(scale.dtype) * scale.flatten()
        return folded(site, site.weight().to(scale.dtype) * scale, bias)


class InputScale(Hook):
    """x * l with l: (1, I) ones, in PEFT's shape."""

    changes_input = True

    def __init__(self, site: Site):
        super().__init__()
        self.l = nn.Parameter(torch.ones((1, site.in_features), dtype=trained_dtype(site)))

    def before(self, x_tI: Tensor, site: Site) -> Tensor:
        return (x_tI * self.l.flatten()).to(x_tI.dtype)

    def decays(self, name: str) -> bool:
        return False  # as for outputs

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        scale = self.l.detach()
        return folded(site, site.weight().to(scale.dtype) * scale)
