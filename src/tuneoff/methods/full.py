"""Full fine-tuning: every weight of the backbone is trained.

The bar that every other method is held against; needs the most memory, since each weight carries
a gradient and the optimizer's state.

Rates, encoders: 2e-5, the middle of the grid in Devlin et al. 2019 (BERT, arXiv 1810.04805), and
Mosbach et al. 2021 (arXiv 2006.04884); the grid reaches 3e-4, which google-research/bert lists for
its small models (Turc et al. 2019, arXiv 1908.08962). Decoders: 5e-5, transformers' default.
Encoder-decoders: 1e-4, transformers' T5 documentation (1e-4 to 3e-4 with AdamW).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tuneoff.methods import Method, Rates
from tuneoff.methods._own_weights import own_weight_problems

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook


class Full(Method):
    """Every weight is trained; the classic, and the most expensive."""

    rates: ClassVar = {
        "encoder": Rates(2e-5, (1e-5, 2e-5, 5e-5, 1e-4, 3e-4)),
        "decoder": Rates(5e-5, (1e-5, 2e-5, 5e-5, 1e-4, 3e-4)),
        "encoder_decoder": Rates(1e-4, (3e-5, 1e-4, 3e-4, 5e-4, 1e-3)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        sites = [site for site in backbone.sites.values() if not site.is_head]
        return own_weight_problems("full fine-tuning", backbone, sites)

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.backbones.sites import Own

        shared: dict[int, torch.nn.Parameter] = {}  # tied weights stay one parameter
        return {
            name: Own(site, shared) for name, site in backbone.sites.items() if not site.is_head
        }
