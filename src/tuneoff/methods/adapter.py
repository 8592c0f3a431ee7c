"""Bottleneck adapters: a small two-layer network with a residual inside frozen blocks.

h + W_up f(W_down h + b_down) + b_up on the output of a frozen projection, before the block's own
residual addition. `houlsby` puts one behind the attention and one behind the feed-forward of each
block, `pfeiffer` the latter alone, with half the cost. A bottleneck cannot be folded into the
weights, so inference stays slower.

Source: Houlsby et al. 2019 (arXiv 1902.00751): rates of 3e-5 to 3e-3, near-identity start;
Pfeiffer et al. 2021 (arXiv 2005.00247): reduction 16; LoRA's comparison (arXiv 2106.09685, appendix
D) takes 3e-4 for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site


class Adapter(Method):
    """Small two-layer networks between the frozen layers (Houlsby, Pfeiffer)."""

    style: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Where: behind attention and feed-forward (`houlsby`), or the feed-forward alone."""
    reduction_factor: float = Field(default=16, gt=0)
    """The model's width divided by the bottleneck's."""
    bottleneck_size: int | None = Field(default=None, ge=1)
    """The bottleneck's width, in place of `reduction_factor`."""
    activation: Literal["relu", "gelu"] = "relu"
    """The function between the two layers."""

    rates: ClassVar = {
        "encoder": Rates(3e-4, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "decoder": Rates(3e-4, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "encoder_decoder": Rates(3e-4, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    }

    @model_validator(mode="after")
    def _one_width(self) -> Adapter:
        if self.bottleneck_size is not None and "reduction_factor" in self.model_fields_set:
            raise ValueError(
                "give either reduction_factor or bottleneck_size: both set the bottleneck's width"
            )
        return self

    def problems(self, backbone: Backbone) -> list[str]:
        missing = [
            role
            for role in self._roles
            if not any(site.role == role for site in backbone.sites.values())
        ]
        problems = [
            f"adapter: no module of {backbone.options.model} is known as {role}, behind which "
            f"{self.style} adapters stand; use lora with target_modules: all-linear"
            for role in missing
        ]
        narrow = [s for s in self._sites(backbone) if self._width(s) < 1]
        if narrow:
            problems.append(
                f"reduction_factor: {self.reduction_factor:g} leaves no bottleneck of "
                f"{narrow[0].out_features} features; at most that many"
            )
        return problems

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.methods.hooks.bottleneck import Bottleneck

        return {
            site.name: Bottleneck(site, self._width(site), self.activation, generator)
            for site in self._sites(backbone)
        }

    @property
    def _roles(self) -> tuple[str, ...]:
        return ("attention_output", "ffn_down") if self.style == "houlsby" else ("ffn_down",)

    def _sites(self, backbone: Backbone) -> list[Site]:
        return [site for site in backbone.sites.values() if site.role in self._roles]

    def _width(self, site: Site) -> int:
        return self.bottleneck_size or int(site.out_features / self.reduction_factor)
