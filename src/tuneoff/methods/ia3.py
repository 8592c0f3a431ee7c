"""IA3: learned vectors that scale keys, values and the feed-forward's inner activations.

The vectors start at one. Keys and values are scaled where they come out of their projections, a
fused query-key-value projection (GPT-2) as a whole, as PEFT does; the feed-forward is scaled where
it enters its last projection. All fold into the weights.

Source: Liu et al. 2022 (T-Few, arXiv 2205.05638). Rate 3e-3: r-three/t-few `configs/ia3.json`;
2e-3 to 5e-3 is stable in PEFT's comparison. PEFT's own defaults differ by architecture, and on
BERT also scale what enters the attention's output projection; ours follow the paper everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tuneoff.errors import BackboneError
from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site


class IA3(Method):
    """Scales keys, values and inner activations by learned vectors; very few parameters."""

    target_modules: str | tuple[str, ...] = ("key", "value", "ffn_down")
    """All modules that get a vector: roles, names, globs, regular expressions or `all-linear`."""
    feedforward_modules: str | tuple[str, ...] = Field(default=("ffn_down",))
    """Those of them whose input is scaled; the others' output is. May be empty."""

    peft_names: ClassVar = {"l": "ia3_l"}
    rates: ClassVar = {
        "encoder": Rates(3e-3, (5e-4, 1e-3, 3e-3, 5e-3, 1e-2)),
        "decoder": Rates(3e-3, (5e-4, 1e-3, 3e-3, 5e-3, 1e-2)),
        "encoder_decoder": Rates(3e-3, (5e-4, 1e-3, 3e-3, 5e-3, 1e-2)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        problems, chosen = [], {}
        for field in ("target_modules", "feedforward_modules"):
            try:
                chosen[field] = self._select(backbone, field)
            except BackboneError as error:
                problems.append(str(error).replace("target_modules", field, 1))
        if not problems:
            inside = {site.name for site in chosen["target_modules"]}
            outside = [s.name for s in chosen["feedforward_modules"] if s.name not in inside]
            if outside:
                problems.append(
                    "feedforward_modules: every one must be among target_modules; "
                    f"{', '.join(outside[:3])} "
                    f"{'is' if len(outside) == 1 else 'are'} not"
                )
        return problems

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.methods.hooks.scale import InputScale, OutputScale

        inputs = {site.name for site in self._select(backbone, "feedforward_modules")}
        return {
            site.name: InputScale(site) if site.name in inputs else OutputScale(site)
            for site in self._select(backbone, "target_modules")
        }

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import IA3Config

        from tuneoff.methods._peft_form import common

        targets = self._select(backbone, "target_modules")
        return IA3Config(
            target_modules=[site.name for site in targets],
            feedforward_modules=[s.name for s in self._select(backbone, "feedforward_modules")],
            fan_in_fan_out=any(site.transposed for site in targets),
            **common(backbone),
        )

    def _select(self, backbone: Backbone, field: str) -> list[Site]:
        targets = getattr(self, field)
        return backbone.select(targets) if targets else []
