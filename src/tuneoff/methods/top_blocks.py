"""Top blocks: the k topmost transformer blocks are trained whole, all below stays frozen.

What stands above them is trained too: the final normalization, the pooler. Token embeddings and a
language model's output layer stay frozen. An encoder-decoder's top blocks are its decoder's, then
its encoder's. Nothing is differentiated below the lowest trained block, and the engine may cache
what the frozen blocks give.

Source: Lee et al. 2019 (arXiv 1911.03090), who find that about a quarter of the layers keeps most
of the quality, at full fine-tuning's rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from tuneoff.methods import Method, Rates
from tuneoff.methods._own_weights import own_weight_problems

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site


class TopBlocks(Method):
    """The k topmost blocks are trained; fast, since all below is computed once."""

    k: int = Field(default=2, ge=1)
    """How many blocks."""

    rates: ClassVar = {
        "encoder": Rates(5e-5, (2e-5, 5e-5, 1e-4, 3e-4, 1e-3)),
        "decoder": Rates(5e-5, (2e-5, 5e-5, 1e-4, 3e-4, 1e-3)),
        "encoder_decoder": Rates(1e-4, (3e-5, 1e-4, 3e-4, 5e-4, 1e-3)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        if self.k > backbone.blocks:
            return [
                f"k: {self.k} is more than the {backbone.blocks} blocks of "
                f"{backbone.options.model}; at most {backbone.blocks}"
            ]
        return own_weight_problems("top_blocks", backbone, self._sites(backbone))

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.backbones.sites import Own

        shared: dict[int, torch.nn.Parameter] = {}
        return {site.name: Own(site, shared) for site in self._sites(backbone)}

    def _sites(self, backbone: Backbone) -> list[Site]:
        from tuneoff.backbones import roles

        lowest = backbone.blocks - self.k
        output = backbone.model.get_output_embeddings()
        return [
            site
            for site in backbone.sites.values()
            if site.block >= lowest
            and not site.is_head
            and site.module is not output
            and not (site.kind == "embedding" and roles.block(site.name) is None)
        ]
