"""What speaks against training a site's own weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Site


def own_weight_problems(what: str, backbone: Backbone, sites: Iterable[Site]) -> list[str]:
    """Sentences about quantized weights.

    what: the method, as the subject of the sentence.
    """
    problems = []
    quantization = backbone.options.quantization
    if quantization != "none" and any(site.kind == "linear" for site in sites):
        problems.append(
            f"{what} changes the weights themselves, and {quantization} weights are rounded and "
            "cannot be trained; load the backbone with quantization: none, or use lora, ia3 or "
            "adapter on it"
        )
    return problems
