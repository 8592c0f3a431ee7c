"""The offset hook: y + offset, what is trained of a bias.

Axes: t rows of one member, O features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tuneoff.backbones.sites import Affine, Hook, Site
from tuneoff.methods.hooks import folded, trained_dtype


class Offset(Hook):
    """(O,) zeros; the gradient is that of the bias itself."""

    def __init__(self, site: Site):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(site.out_features, dtype=trained_dtype(site)))

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        return y_tO + self.offset.to(y_tO.dtype)

    def affine(self, site: Site) -> Affine | None:
        assert site.bias is not None
        return (site.weight(), site.bias + self.offset) if site.kind == "linear" else None

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        assert site.bias is not None
        bias = site.bias.to(self.offset.dtype) + self.offset.detach()
        if site.kind == "linear":
            return folded(site, bias=bias)
        own = {
            name: value.detach().to(bias.dtype)
            for name, value in site.module.named_parameters(recurse=False)
        }
        return {**own, "bias": bias}
