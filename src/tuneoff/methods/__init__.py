"""Methods: what is trained, and how it enters a frozen backbone. One file each.

A method is settings (a frozen pydantic model) that build small torch modules, the hooks. The
engine hangs one hook per member on each site (a linear, normalization or embedding module of the
backbone) that the method wants; see `tuneoff.backbones.sites`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from tuneoff.settings import Settings

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook


class Rates(NamedTuple):
    """A method's own learning rates: the default, and the grid that probes search."""

    default: float
    grid: tuple[float, ...]


class Method(Settings):
    """One way to fine-tune. Subclasses add their settings as fields, with sourced defaults."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate; the method's own default for the backbone's kind when not given."""

    rates: ClassVar[Mapping[str, Rates]]
    """Rates per backbone kind: `encoder`, `decoder`, `encoder_decoder`; sources in the file."""
    quantization: ClassVar[str | None] = None
    """The backbone quantization that the method implies (QLoRA: `nf4`)."""
    alone: ClassVar[bool] = False
    """True when the method rewrites the whole model and cannot share a cohort."""

    def problems(self, backbone: Backbone) -> list[str]:
        """Reasons why this method cannot be put on this backbone; empty when it can.

        Called on a weightless (meta device) backbone, before anything is loaded.
        """
        return []

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        """Hooks by site name, freshly initialised from `generator` (on the CPU)."""
        raise NotImplementedError

    def peft_config(self, backbone: Backbone) -> Any | None:
        """The PEFT configuration that describes the same adapter; None when PEFT has no such form."""
        return None

    def peft_state(self, hooks: Mapping[str, Hook]) -> dict[str, torch.Tensor]:
        """Tensors under PEFT's names relative to the base model, e.g. `<site>.lora_A.weight`."""
        raise NotImplementedError
