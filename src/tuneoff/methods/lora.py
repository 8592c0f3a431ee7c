"""LoRA: each chosen linear module gets a trained low-rank update, W + scaling * B A.

scaling is lora_alpha / rank, or lora_alpha / sqrt(rank) with `use_rslora` (Kalajdzievski 2023,
arXiv 2312.03732: keep lora_alpha / sqrt(rank) at what lora_alpha / rank was, or it is another
learning rate in disguise). `lora_plus_ratio` trains B at so many times A's rate (Hayou et al. 2024,
arXiv 2402.12354: 16); the geometric mean of both rates stays at LoRA's. `use_dora` trains
magnitude and direction apart, as the method `dora` does.

`fused_parts: [key, value]` updates these parts alone of GPT-2's projection, which is query, key and
value in one (`enable_lora` in microsoft/LoRA), each part by an update of its own of the full rank.
PEFT knows no parts; it is given the same update as one of the parts' ranks together, with zeros.

Source: Hu et al. 2021 (arXiv 2106.09685). Rank 8, lora_alpha 16, no dropout, 4e-4 to 5e-4:
microsoft/LoRA `examples/NLU/roberta_*.sh`; 2e-4: its GPT-2 and the QLoRA scripts. All linear
modules: Dettmers et al. 2023 (arXiv 2305.14314) and Schulman et al. 2025 (LoRA Without Regret)
find that it closes the gap to full fine-tuning, which attention alone does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeGuard

from pydantic import Field, model_validator

from tuneoff.errors import BackboneError
from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook, Site
    from tuneoff.methods.hooks.fused_parts import FusedParts


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
    fused_parts: tuple[Literal["query", "key", "value"], ...] | None = Field(
        default=None, min_length=1
    )
    """Of a fused query-key-value projection (GPT-2) these parts alone; null: the whole."""
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

    @model_validator(mode="after")
    def _parts_keep_their_magnitude(self) -> Self:
        if self.fused_parts is not None and self.use_dora:
            raise ValueError(
                "fused_parts has no effect under use_dora: magnitudes are trained for every part; "
                "leave one of them out"
            )
        return self

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
        from tuneoff.methods.hooks.fused_parts import has_parts

        try:
            sites = backbone.select(self.target_modules)
        except BackboneError as error:
            return [str(error)]
        if not sites:
            return [
                f"target_modules: {self.target_modules!r} matches no linear module of "
                f"{backbone.options.model}"
            ]
        if self.fused_parts is not None and not any(map(has_parts, sites)):
            return [
                f"fused_parts: no module among target_modules is a query, key and value in one "
                f"whose parts stand one after another (GPT-2's c_attn); "
                f"{backbone.options.model} has {', '.join(sorted({s.role for s in sites}))}; name "
                "roles in target_modules instead"
            ]
        features, small = min(((self._features(site), site) for site in sites), key=lambda x: x[0])
        if self.rank > features:
            return [
                f"rank: {self.rank} is more than the {features} features of {small.name}; "
                f"at most {features}"
            ]
        return []

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.methods.hooks.decomposed import Decomposed
        from tuneoff.methods.hooks.fused_parts import FusedParts
        from tuneoff.methods.hooks.low_rank import LowRank

        kind = Decomposed if self.use_dora else LowRank
        hooks: dict[str, Hook] = {}
        for site in backbone.select(self.target_modules):
            settings = (self.scaling, self.lora_dropout, self.lora_plus_ratio, generator)
            if parts := self._parts(site):
                hooks[site.name] = FusedParts(site, self.rank, *settings, parts)
            else:
                hooks[site.name] = kind(site, self.rank, *settings)
        return hooks

    def _parts(self, site: Site) -> tuple[str, ...]:
        """The parts of a site that alone are updated; none of a site that is updated whole."""
        from tuneoff.methods.hooks.fused_parts import has_parts

        return self.fused_parts if self.fused_parts is not None and has_parts(site) else ()

    def _features(self, site: Site) -> int:
        """The largest rank that makes sense."""
        outputs = site.out_features // 3 if self._parts(site) else site.out_features
        return min(site.in_features, outputs)

    def peft_config(self, backbone: Backbone) -> Any:
        from peft import LoraConfig

        from tuneoff.methods._peft_form import common

        sites = backbone.select(self.target_modules)
        counts = {site.name: len(set(self._parts(site))) for site in sites if self._parts(site)}
        more = 0.5 if self.use_rslora else 1.0  # the scaling stays, whatever the rank
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.lora_alpha,
            rank_pattern={name: self.rank * count for name, count in counts.items()},
            alpha_pattern={name: self.lora_alpha * n**more for name, n in counts.items()},
            lora_dropout=self.lora_dropout,
            target_modules=[site.name for site in sites],
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            fan_in_fan_out=any(site.transposed for site in sites),
            **common(backbone),
        )

    def peft_state(self, hooks: Mapping[str, Hook]) -> dict[str, torch.Tensor]:
        state = super().peft_state(hooks)
        for site, hook in hooks.items():
            if self._is_of_parts(hook):
                state[f"{site}.lora_B.weight"] = hook.factors()[1].detach()
        return state

    def load_peft_state(self, hooks: Mapping[str, Hook], state: Mapping[str, torch.Tensor]) -> None:
        super().load_peft_state(hooks, state)
        for site, hook in hooks.items():
            if self._is_of_parts(hook):  # there what was copied into was no view of B
                hook.B.data.copy_(hook.take(state[f"{site}.lora_B.weight"]))

    def _is_of_parts(self, hook: Hook) -> TypeGuard[FusedParts]:
        from tuneoff.methods.hooks.fused_parts import FusedParts

        return isinstance(hook, FusedParts)
