"""LayerNorm tuning: only the weights and biases of the normalization modules are trained.

Source: Zhao et al. 2023 (arXiv 2312.11420), PEFT's LN Tuning; r-three/t-few `layernorm.json`
takes 3e-4, PEFT's method comparison shows that 1e-4 can be far too low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tuneoff.methods import Method, Rates
from tuneoff.methods._own_weights import own_weight_problems

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site


class LayerNorm(Method):
    """Only the normalization layers are trained; the fewest parameters after the head alone."""

    peft_names: ClassVar = {"weight": "ln_tuning_layers.weight", "bias": "ln_tuning_layers.bias"}
    rates: ClassVar = {
        "encoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "decoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "encoder_decoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        sites = _norms(backbone)
        if not sites:
            return [
                f"layernorm trains normalization layers, and {backbone.options.model} has none "
                "with weights; use bitfit or lora"
            ]
        return own_weight_problems("layernorm", backbone, sites)

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.backbones.sites import Own

        return {site.name: Own(site) for site in _norms(backbone)}

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import LNTuningConfig

        from tuneoff.methods._peft_form import common

        return LNTuningConfig(
            target_modules=[site.name for site in _norms(backbone)], **common(backbone)
        )


def _norms(backbone: Backbone) -> list[Site]:
    return [site for site in backbone.sites.values() if site.kind == "norm" and not site.is_head]
