"""Generation with a model that a method has rewritten as a whole (PEFT's own methods): by its own
`generate`, since what it does between the layers is its own.

Prompts of one length go together, so that nothing is padded; draws go one prompt at a time, from
PyTorch's generator seeded by member and prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tuneoff.backbones.padded import Wrapped
from tuneoff.training.generation import Generation
from tuneoff.training.prompts import start_of_text

_NO_TOKEN = -1


@torch.no_grad()
def whole_texts(
    family: Wrapped,
    prompts: Sequence[Sequence[int]],
    settings: Generation,
    ends: Sequence[int],
    seed: int,
    tokens: int,
) -> list[list[int]]:
    """The new tokens of each prompt; tokens: most of a batch, new ones and beams included."""
    backbone, device = family.backbone, family.backbone.device
    given: dict[str, Any] = {
        name: value
        for name, value in settings.in_force().items()
        if name != "seed" and value is not None
    }
    if settings.do_sample and settings.top_k is None:
        given["top_k"] = 0  # transformers cuts at 50 where nothing is said
    given |= {"eos_token_id": list(ends) or [_NO_TOKEN], "pad_token_id": 0}
    encodes = backbone.kind == "encoder_decoder"
    if encodes:
        given["decoder_start_token_id"] = start_of_text(backbone)
    texts: list[list[int]] = [[] for _ in prompts]
    family.model.eval()
    for batch in _alike(prompts, settings, tokens):
        ids = torch.tensor([list(prompts[i]) for i in batch], device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if settings.do_sample:
                seeds = np.random.SeedSequence([settings.seed, seed, batch[0]])
                torch.manual_seed(int(seeds.generate_state(1)[0]))
            out = family.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **given)
        for i, row in zip(batch, out[:, 1 if encodes else ids.shape[1] :].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in ends), len(row))
            texts[i] = row[:end]
    return texts


def _alike(
    prompts: Sequence[Sequence[int]], settings: Generation, tokens: int
) -> Iterator[list[int]]:
    """Prompts of one length, as many as fit in so many tokens; one at a time for draws."""
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(i)
    for length, all_of_it in sorted(by_length.items(), reverse=True):
        size = max(1, tokens // (length + settings.max_new_tokens))
        size = 1 if settings.do_sample else size
        for start in range(0, len(all_of_it), size):
            yield all_of_it[start : start + size]
