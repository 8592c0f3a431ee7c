"""A whole model as a member's one hook: for methods that rewrite the model instead of hooking
into sites (`Method.alone`)."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.padded import Wrapped
from tuneoff.backbones.sites import Hook
from tuneoff.methods import Method


class Whole(Hook):
    """Holds the rewritten model; those of its parameters that require gradients are trained."""

    def __init__(self, method: Method, backbone: Backbone, generator: torch.Generator):
        super().__init__()
        own = dataclasses.replace(backbone, model=copy.deepcopy(backbone.model))
        modules = dict(own.model.named_modules())
        own.sites = {name: _moved(site, modules[name]) for name, site in backbone.sites.items()}
        wrap: Any = method.wrap  # type: ignore[attr-defined]
        self.model = wrap(own, generator)
        self._backbone = (own,)  # in a tuple, so that it is no submodule

    def family(self) -> Wrapped:
        """The forward over this model."""
        return Wrapped(self._backbone[0], self.model)


def _moved(site: Any, module: torch.nn.Module) -> Any:
    moved = copy.copy(site)
    moved.module, moved.hooks = module, []
    moved._forward = module.forward
    return moved
