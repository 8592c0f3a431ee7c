"""Last layer: the head alone is trained, on the frozen backbone's features.

A classifier's head is new and given to every method by the engine, so there is nothing to hook.
A language model has a head already, often tied to its token embeddings: here it gets a copy of
its own, so that the embeddings stay as they are. T5's head for classification is two layers; both
are new, both are trained.

Rates: 1e-3, the habit for a linear layer on fixed features (Kumar et al. 2022, arXiv 2202.10054,
search linear probes in 1e-3 to 1e-1 and full fine-tuning far below); a language model's pretrained
head moves at 1e-4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tuneoff.methods import Method, Rates

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone
    from tuneoff.backbones.sites import Hook


_SPEAKING = ("causal_lm", "seq2seq_lm")


class LastLayer(Method):
    """Only the head is trained, on the frozen backbone's features; the cheapest."""

    rates: ClassVar = {
        "encoder": Rates(1e-3, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
        "decoder": Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
        "encoder_decoder": Rates(1e-3, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    }

    def problems(self, backbone: Backbone) -> list[str]:
        if backbone.head in _SPEAKING and not _output_sites(backbone):
            return [
                f"{backbone.options.model} has no output layer of its own to train; use "
                "top_blocks or lora"
            ]
        return []

    def build(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Hook]:
        from tuneoff.backbones.sites import Own

        if backbone.head not in _SPEAKING:
            return {}
        return {name: Own(backbone.sites[name]) for name in _output_sites(backbone)}


def _output_sites(backbone: Backbone) -> list[str]:
    """The site of a language model's output embedding."""
    output = backbone.model.get_output_embeddings()
    return [name for name, site in backbone.sites.items() if site.module is output]
