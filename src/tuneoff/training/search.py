"""Search: from a backbone's steps to texts. Greedy and by draws here; beams in `beams.py`.

Texts that have ended leave the batch, so that the others go on faster.
Axes: K members, P prompts, N rows still open, V vocabulary, L tokens of prompt and text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tuneoff.training.beams import search_beams
from tuneoff.training.choosing import constrain, draw, ends_tensor, uniforms
from tuneoff.training.generation import Generation
from tuneoff.training.steps import Prompts, Steps

LEAVE = 8  # texts leave once one in so many has ended: leaving copies the caches


def search(
    steps: Steps,
    prompts: Prompts,
    numbers: Sequence[int],
    settings: Generation,
    ends: Sequence[int],
    seeds: Sequence[int],
) -> list[list[int]]:
    """K * P texts, member by member, without the token that ended them.

    prompts: longest first; numbers: (P,) each prompt's place in the caller's list; seeds: (K,).
    """
    if settings.num_beams > 1:
        return search_beams(steps, prompts, settings, ends)
    streams = None
    if settings.do_sample:
        drawn = [uniforms(settings, seed, number) for seed in seeds for number in numbers]
        streams = torch.from_numpy(np.stack(drawn)).to(steps.device)
    return _search_one(steps, prompts, settings, ends, streams)


@torch.no_grad()
def _search_one(
    steps: Steps,
    prompts: Prompts,
    settings: Generation,
    ends: Sequence[int],
    streams: Tensor | None,
) -> list[list[int]]:
    room = settings.max_new_tokens
    logits = steps.begin(prompts, room, 1)
    stop = ends_tensor(ends, logits.shape[1], steps.device)
    front = steps.history(prompts).repeat(steps.members, 1)
    written = front.new_zeros((len(front), room))
    lengths = torch.full((len(front),), room, device=steps.device)
    rows = torch.arange(len(front), device=steps.device)
    ended = torch.zeros(len(front), dtype=torch.bool, device=steps.device)
    for new in range(room):
        scores = logits.float()
        if settings.no_repeat_ngram_size or new < settings.min_new_tokens:
            history = torch.cat([front, written[:, :new]], 1)[rows]
            scores = constrain(scores, history, new, settings, stop)
        tokens = (
            scores.argmax(-1) if streams is None else draw(scores, streams[rows, new], settings)
        )
        written[rows, new] = tokens
        ending = torch.isin(tokens, stop) & ~ended
        lengths[rows[ending]] = new
        ended |= ending
        gone = int(ended.sum())
        if new == room - 1 or gone == len(rows):
            break
        if gone * LEAVE >= len(rows):
            left = (~ended).nonzero().squeeze(1)
            steps.keep(left)
            rows, tokens, ended = rows[left], tokens[left], ended[left]
        logits = steps.advance(tokens)
    return [row[:n] for row, n in zip(written.tolist(), lengths.tolist(), strict=True)]
