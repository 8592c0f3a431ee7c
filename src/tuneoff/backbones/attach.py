"""Hangs the hooks of a cohort's members on a backbone, and takes them off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.sites import Bounds, Hook, Site
from tuneoff.errors import BackboneError


def attach(backbone: Backbone, members: Sequence[Mapping[str, Hook]]) -> None:
    """Give every site one hook (or None) per member, in the members' order; replaces what hung."""
    unknown = {name for hooks in members for name in hooks} - set(backbone.sites)
    if unknown:
        raise BackboneError(
            f"hooks for modules that {backbone.options.model} does not have: "
            f"{', '.join(sorted(unknown))}"
        )
    for name, site in backbone.sites.items():
        site.hooks = [hooks.get(name) for hooks in members]


@contextmanager
def intercepted(backbone: Backbone, bounds: Bounds) -> Iterator[None]:
    """Within: the Hugging Face model's own forward goes through the sites, so that any
    architecture runs with hooks. `bounds`: each member's rows along the batch axis."""
    changed: list[Site] = [
        site for site in backbone.sites.values() if any(site.hooks) or site.quantized
    ]
    for site in changed:
        site.module.forward = _through(site, bounds)
    try:
        yield
    finally:
        for site in changed:
            del site.module.forward


def _through(site: Site, bounds: Bounds) -> Any:
    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs:
            return site.frozen(x, *args, **kwargs)
        rows = bounds
        if x.shape[0] != bounds[-1][1]:  # positions: one row, or a table, stands for all members
            if len(bounds) == 1:
                rows = ((0, x.shape[0]),)
            elif any(site.hooks):
                x = x.expand(bounds[-1][1], *x.shape[1:])
        return site(x, rows)

    return forward
