"""The bottleneck hook: h + up(f(down(h))) on what leaves a site.

Axes: t rows of one member, O features, M features of the bottleneck.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tuneoff.backbones.sites import Hook, Site
from tuneoff.methods.hooks import trained_dtype

_STD = 1e-2
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class Bottleneck(Hook):
    """down: (M, O), up: (O, M), normal with a deviation of 1e-2 cut at two deviations; biases
    zero: close to the identity at the start. Source: Houlsby et al. 2019, section 3.6."""

    def __init__(self, site: Site, width: int, activation: str, generator: torch.Generator):
        super().__init__()
        dtype, features = trained_dtype(site), site.out_features

        def drawn(*shape: int) -> nn.Parameter:
            values = nn.init.trunc_normal_(
                torch.empty(shape), std=_STD, a=-2 * _STD, b=2 * _STD, generator=generator
            )
            return nn.Parameter(values.to(dtype))

        self.down, self.down_bias = drawn(width, features), _zeros(width, dtype)
        self.up, self.up_bias = drawn(features, width), _zeros(features, dtype)
        self.function = _FUNCTIONS[activation]

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        inner = self.function(F.linear(y_tO.to(self.down.dtype), self.down, self.down_bias))
        return y_tO + F.linear(inner, self.up, self.up_bias).to(y_tO.dtype)


def _zeros(size: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size, dtype=dtype))
