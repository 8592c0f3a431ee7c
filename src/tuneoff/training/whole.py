"""A whole model as a member's one hook: for methods that rewrite the model instead of hooking
into sites (`Method.alone`)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.padded import Wrapped
from tuneoff.backbones.sites import Hook
from tuneoff.methods import Method


class Whole(Hook):
    """Holds the rewritten model; those of its parameters that require gradients are trained."""

    NAME: ClassVar[str] = "model"
    """What stands for the site's name, among a member's hooks."""

    def __init__(
        self,
        method: Method,
        backbone: Backbone,
        generator: torch.Generator | None = None,
        saved: Path | None = None,
        remember: bool = False,
    ):
        """saved: a folder that PEFT wrote, whose trained parameters are loaded; else they are
        drawn from `generator`; remember: keep what they start from, for `scaled`."""
        super().__init__()
        own = dataclasses.replace(backbone, model=copy.deepcopy(backbone.model))
        modules = dict(own.model.named_modules())
        own.sites = {name: _moved(site, modules[name]) for name, site in backbone.sites.items()}
        if saved is None:
            wrap: Any = method.wrap  # type: ignore[attr-defined]
            self.model = wrap(own, generator)
        else:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(own.model, saved)
        self._backbone = (own,)  # in a tuple, so that it is no submodule
        heads = [f".{site.name}." for site in backbone.head_sites]
        self._start = {
            name: parameter.detach().clone()
            for name, parameter in (self.model.named_parameters() if remember else ())
            if parameter.requires_grad and not any(head in f".{name}." for head in heads)
        }

    @contextmanager
    def scaled(self, share: float) -> Iterator[None]:
        """Within: each trained parameter but those of heads lies so far between where it started
        and what it is."""
        parameters = dict(self.model.named_parameters())
        trained = {name: parameters[name].detach().clone() for name in self._start}
        with torch.no_grad():
            for name, start in self._start.items():
                parameters[name].copy_(torch.lerp(start, trained[name], share))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in trained.items():
                    parameters[name].copy_(value)

    def unmergeable(self) -> str | None:
        """Why the method's parameters cannot be folded into the model's; None when they can."""
        if self._backbone[0].options.quantization != "none":
            return "PEFT would fold it into the quantized weights, with another rounding"
        if not hasattr(self.model.base_model, "merge_and_unload"):
            return "it is no change of weights"
        try:
            self.unloaded()
        except (NotImplementedError, AttributeError, ValueError, RuntimeError) as error:
            return (
                f"PEFT says: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            )
        return None

    def unloaded(self) -> Any:
        """A plain model with the method's parameters folded in."""
        return copy.deepcopy(self.model).merge_and_unload()

    def family(self) -> Wrapped:
        """The forward over this model."""
        return Wrapped(self._backbone[0], self.model)


def _moved(site: Any, module: torch.nn.Module) -> Any:
    moved = copy.copy(site)
    moved.module, moved.hooks = module, []
    moved._forward = module.forward
    return moved
