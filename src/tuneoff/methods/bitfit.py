"""BitFit: only the bias terms are trained.

Each linear and normalization module that has a bias gets an offset of its own, which starts at
zero; folding adds it to the bias, so that a trained model is as fast as before. T5 and Llama have
no biases, and BitFit does not fit them.

Source: Ben Zaken et al. 2022 (arXiv 2106.10199), which searches rates of 1e-4 to 1e-3;
r-three/t-few `bitfit.json` takes 3e-4. PEFT's method comparison shows that 1e-4 can be far too low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site


class BitFit(Method):
    """Only the bias terms are trained; about a thousandth of the weights."""

    rates: ClassVar = {
        "encoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "decoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "encoder_decoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        if _biased(backbone):
            return []
        return [
            f"bitfit trains biases, and {backbone.options.model} has none; use layernorm, "
            "ia3 or lora"
        ]

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.methods.hooks.offset import Offset

        return {site.name: Offset(site) for site in _biased(backbone)}


def _biased(backbone: Backbone) -> list[Site]:
    return [
        site
        for site in backbone.sites.values()
        if site.has_bias and site.kind in ("linear", "norm") and not site.is_head
    ]
