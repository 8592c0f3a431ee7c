"""New weights, drawn as transformers draws them: heads, and a pair's cross-attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tuneoff.backbones.sites import Site


def draw(config: Any, sites: Iterable[Site], seed: int) -> None:
    """Weights normal, biases zero, norms at one; PyTorch's global stream stays as it is."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for site in sites:
            std = _initializer_std(config, site)
            for name, parameter in site.module.named_parameters(recurse=False):
                if name == "bias":
                    parameter.zero_()
                elif site.kind == "norm":
                    parameter.fill_(1.0)
                else:
                    parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std))


def _initializer_std(config: Any, site: Site) -> float:
    """Standard deviation of a new linear layer; T5's own formula is factor * d_model**-0.5
    (transformers `T5PreTrainedModel._init_weights`)."""
    if getattr(config, "model_type", "") in ("t5", "mt5", "umt5"):
        factor = float(getattr(config, "initializer_factor", 1.0))
        return factor * float(site.in_features**-0.5)
    own = getattr(config, "decoder", None) or config
    return float(getattr(own, "initializer_range", 0.02))
