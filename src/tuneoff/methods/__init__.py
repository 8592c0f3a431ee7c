"""Methods: what is trained, and how it enters a frozen backbone. One file each.

A method is settings (a frozen pydantic model) that build small torch modules, the hooks. The
engine hangs one hook per member on each site (a linear, normalization or embedding module of the
backbone) that the method wants; see `tuneoff.backbones.sites`. New heads are not a method's
business: the engine gives every method's run its own trained copy of them.

Settings load without torch; hooks stand in `hooks/` and are imported where a method builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from pydantic import Field, PositiveFloat, model_validator

from tuneoff.errors import TuneoffError
from tuneoff.settings import Settings

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook


class Rates(NamedTuple):
    """A method's own learning rates: the default, and the grid that probes search, ascending."""

    default: float
    grid: tuple[float, ...]


class Method(Settings):
    """One way to fine-tune. Subclasses add their settings as fields, with sourced defaults."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate; the method's own default for the backbone's kind when not given."""

    learning_rates: tuple[PositiveFloat, ...] | None = Field(default=None, min_length=1)
    """The grid that probes search, in place of the method's own. The first is the default rate."""

    rates: ClassVar[Mapping[str, Rates]]
    """Rates per backbone kind: `encoder`, `decoder`, `encoder_decoder`; sources in the file."""
    quantization: ClassVar[str | None] = None
    """The backbone quantization that the method implies (QLoRA: `nf4`)."""
    alone: ClassVar[bool] = False
    """True when the method rewrites the whole model and cannot share a cohort; it then has
    `wrap(backbone, generator)` in place of `build`."""
    peft_names: ClassVar[Mapping[str, str]] = {}
    """What PEFT calls each parameter of a hook, e.g. `{"A": "lora_A.weight"}`; empty when PEFT has
    no such form."""

    def own_rates(self, kind: str) -> Rates:
        """The rates for a backbone kind, with whatever in these settings shifts them."""
        if self.learning_rates is not None:
            return Rates(self.learning_rates[0], tuple(sorted(self.learning_rates)))
        return self.rates[kind]

    @model_validator(mode="after")
    def _one_source_of_rates(self) -> Self:
        if self.learning_rate is not None and self.learning_rates is not None:
            raise ValueError(
                "learning_rates has no effect: learning_rate is given, so nothing is probed; "
                "leave one of them out"
            )
        return self

    def problems(self, backbone: Backbone) -> list[str]:
        """Reasons why this method cannot be put on this backbone; empty when it can.

        Called on a weightless (meta device) backbone, before anything is loaded.
        """
        return []

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        """Hooks by site name, freshly initialised from `generator` (on the CPU)."""
        raise NotImplementedError

    def peft_config(self, backbone: Backbone) -> Any | None:
        """The PEFT configuration of the same adapter; None when PEFT has no such form."""
        return None

    def peft_state(self, hooks: Mapping[str, Hook]) -> dict[str, torch.Tensor]:
        """Tensors under PEFT's names relative to the base model, e.g. `<site>.lora_A.weight`."""
        return {
            f"{site}.{theirs}": hook.get_parameter(ours).detach()
            for site, hook in hooks.items()
            for ours, theirs in self.peft_names.items()
            if ours in hook._parameters
        }

    def load_peft_state(self, hooks: Mapping[str, Hook], state: Mapping[str, torch.Tensor]) -> None:
        """Copy tensors under PEFT's names, as `peft_state` gives them, into freshly built hooks.

        Raises TuneoffError when a tensor is missing, has another shape or belongs to no hook.
        """
        targets = self.peft_state(hooks)
        faults = [f"{name} is missing" for name in targets.keys() - state.keys()]
        faults += [f"{name} belongs to no module" for name in state.keys() - targets.keys()]
        faults += [
            f"{name} is {tuple(state[name].shape)}, expected {tuple(target.shape)}"
            for name, target in targets.items()
            if name in state and state[name].shape != target.shape
        ]
        if faults:
            raise TuneoffError(
                f"the saved adapter does not fit these settings and this backbone: "
                f"{'; '.join(sorted(faults)[:5])}"
                f"{f'; and {len(faults) - 5} more' if len(faults) > 5 else ''}. Load it with the "
                "settings that it was trained with"
            )
        for name, target in targets.items():
            target.copy_(state[name])
