"""LoRA: each chosen linear module gets a trained low-rank update, W + scaling * B A.

scaling is lora_alpha / rank, or lora_alpha / sqrt(rank) with `use_rslora` (Kalajdzievski 2023,
arXiv 2312.03732: keep lora_alpha / sqrt(rank) at what lora_alpha / rank was, or it is another
learning rate in disguise). `lora_plus_ratio` trains B at so many times A's rate (Hayou et al. 2024,
arXiv 2402.12354: 16); the geometric mean of both rates stays at LoRA's. `use_dora` trains
magnitude and direction apart, as the method `dora` does.

Source: Hu et al. 2021 (arXiv 2106.09685). Rank 8, lora_alpha 16, no dropout, 4e-4 to 5e-4:
microsoft/LoRA `examples/NLU/roberta_*.sh`; 2e-4: its GPT-2 and the QLoRA scripts. All linear
modules: Dettmers et al. 2023 (arXiv 2305.14314) and Schulman et al. 2025 (LoRA Without Regret)
find that it closes the gap to full fine-tuning, which attention alone does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tuneoff.errors import BackboneError
from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook


class LoRA(Method):
    """Low-rank updates of the linear layers; quality close to full fine-tuning, folds away."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update (PEFT's `r`)."""
    lora_alpha: float = Field(default=16, gt=0)
    """The update is scaled by lora_alpha / rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on what enters the update."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Modules that are updated: `all-linear`, roles such as `query`, the ends of module names,
    globs, or regular expressions over full names."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(rank), which suits high ranks."""
    lora_plus_ratio: float = Field(default=1.0, gt=0)
    """LoRA+: the learning rate of B over that of A."""
    use_dora: bool = False
    """DoRA: also train the magnitude of each output's weights."""

    peft_names: ClassVar = {
        "A": "lora_A.weight",
        "B": "lora_B.weight",
        "magnitude": "lora_magnitude_vector",
    }
    rates: ClassVar = {
        "encoder": Rates(5e-4, (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)),
        "decoder": Rates(2e-4, (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)),
        "encoder_decoder": Rates(5e-4, (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)),
    }

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        return self.lora_alpha / (self.rank**0.5 if self.use_rslora else self.rank)

    def own_rates(self, kind: str) -> Rates:
        rates, share = super().own_rates(kind), self.lora_plus_ratio**-0.5
        if self.learning_rates is not None:
            return rates
        return Rates(rates.default * share, tuple(rate * share for rate in rates.grid))

    def problems(self, backbone: Backbone) -> list[str]:
        try:
            sites = backbone.select(self.target_modules)
        except BackboneError as error:
            return [str(error)]
        if not sites:
            return [
                f"target_modules: {self.target_modules!r} matches no linear module of "
                f"{backbone.options.model}"
            ]
        small = min(sites, key=lambda site: min(site.in_features, site.out_features))
        features = min(small.in_features, small.out_features)
        if self.rank > features:
            return [
                f"rank: {self.rank} is more than the {features} features of {small.name}; "
                f"at most {features}"
            ]
        return []

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.methods.hooks.decomposed import Decomposed
        from tuneoff.methods.hooks.low_rank import LowRank

        kind = Decomposed if self.use_dora else LowRank
        return {
            site.name: kind(
                site, self.rank, self.scaling, self.lora_dropout, self.lora_plus_ratio, generator
            )
            for site in backbone.select(self.target_modules)
        }

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import LoraConfig

        from tuneoff.methods._peft_form import common

        sites = backbone.select(self.target_modules)
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=[site.name for site in sites],
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            fan_in_fan_out=any(site.transposed for site in sites),
            **common(backbone),
        )
