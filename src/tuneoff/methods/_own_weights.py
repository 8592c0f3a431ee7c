"""What speaks against training a site's own weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Site


def own_weight_problems(what: str, backbone: Backbone, sites: Iterable[Site]) -> list[str]:
    """Sentences about quantized weights, and modules that are not called with one input alone.

    what: the method, as the subject of the sentence.
    """
    problems = []
    quantization = backbone.options.quantization
    sites = list(sites)
    if quantization != "none" and any(site.kind == "linear" for site in sites):
        problems.append(
            f"{what} changes the weights themselves, and {quantization} weights are rounded and "
            "cannot be trained; load the backbone with quantization: none, or use lora, ia3 or "
            "adapter on it"
        )
    odd = [site.name for site in sites if not _takes_one_input(site)]
    if odd:
        problems.append(
            f"{what} trains weights through modules that take one input; "
            f"{', '.join(odd[:3])}{' and others' if len(odd) > 3 else ''} of "
            f"{backbone.options.model} take more. Use lora, ia3 or adapter on this backbone"
        )
    return problems


def _takes_one_input(site: Site) -> bool:
    parameters = inspect.signature(type(site.module).forward).parameters
    return len(parameters) == 2  # itself, and what goes in
