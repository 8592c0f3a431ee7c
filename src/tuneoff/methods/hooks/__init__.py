"""The torch modules that methods build, and what they share: their dtype, and folding."""

from __future__ import annotations

import torch
from torch import Tensor

from tuneoff.backbones.sites import Site


def trained_dtype(site: Site) -> torch.dtype:
    """The dtype of trained parameters at a site: float64 on a float64 backbone, else float32, as
    PEFT's `autocast_adapter_dtype` keeps adapters."""
    weight = next(site.module.parameters(recurse=False))
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def folded(
    site: Site, weight_OI: Tensor | None = None, bias: Tensor | None = None
) -> dict[str, Tensor]:
    """The parameters of a linear site's module, with a new weight or bias where given.

    weight_OI: (O, I), turned to the module's own orientation; float32 or wider.
    """
    dtype = trained_dtype(site)
    weight = site.weight() if weight_OI is None else weight_OI
    parameters = {"weight": (weight.t() if site.transposed else weight).detach().to(dtype)}
    bias = site.bias if bias is None else bias
    if bias is not None:
        parameters["bias"] = bias.detach().to(dtype)
    return {name: value.contiguous() for name, value in parameters.items()}
