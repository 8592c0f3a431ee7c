"""Hangs the hooks of a cohort's members on a backbone, and takes them off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
    architecture runs with hooks. `bounds`: each member's rows along the batch axis.

    One member's own weights stand in the modules themselves: some modules take more than one input
    (OPT's positions), and some models read a module's weight without calling it (DeBERTa's relative
    positions) or keep it in a module of many parts (XLNet's attention).
    """
    changed: list[Site] = []
    with ExitStack() as lent:
        for site in backbone.sites.values():
            alone = site.hooks[0] if len(site.hooks) == 1 else None
            if alone is not None and alone.stand_ins() is not None:
                lent.enter_context(site.lending())
            elif any(site.hooks) or site.quantized:
                changed.append(site)
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
            if any(site.hooks):
                raise BackboneError(
                    f"{site.name} is called with more than one input: there a member can have "
                    "weights of its own, alone in its cohort; no method can change what goes in or "
                    "comes out. Leave this module out of the method's targets"
                )
            return site.frozen(x, *args, **kwargs)
        rows = bounds
        if x.shape[0] != bounds[-1][1]:  # positions: one row, or a table, stands for all members
            if len(bounds) == 1:
                rows = ((0, x.shape[0]),)
            elif any(site.hooks):
                x = x.expand(bounds[-1][1], *x.shape[1:])
        return site(x, rows)

    return forward
