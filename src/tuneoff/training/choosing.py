"""Which token comes next: what may not be said, and drawing from what may.

Axes: N rows (texts), V vocabulary, L tokens of prompt and text so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tuneoff.training.generation import Generation

_NEVER = float("-inf")


def constrain(
    scores_NV: Tensor, history_NL: Tensor, new: int, settings: Generation, ends: Tensor
) -> Tensor:
    """Scores with -inf for tokens that may not follow: an end before `min_new_tokens`, and what
    would complete an n-gram that stands already.

    history_NL: -1 on the left where a prompt is shorter; new: tokens written so far.
    """
    if new < settings.min_new_tokens:
        scores_NV[:, ends] = _NEVER
    size = settings.no_repeat_ngram_size
    if size and history_NL.shape[1] >= size:
        tail = history_NL[:, history_NL.shape[1] - size + 1 :]
        windows = history_NL.unfold(1, size, 1)  # (N, L - size + 1, size)
        repeats = (windows[..., :-1] == tail[:, None]).all(-1) & (windows >= 0).all(-1)
        row, place = repeats.nonzero(as_tuple=True)
        scores_NV[row, windows[row, place, -1]] = _NEVER
    return scores_NV


def uniforms(settings: Generation, member_seed: int, prompt: int) -> np.ndarray:
    """(max_new_tokens,) the stream of one member and prompt, uniform in [0, 1)."""
    seeds = np.random.SeedSequence([settings.seed, member_seed, prompt])
    return np.random.default_rng(seeds).random(settings.max_new_tokens)


def draw(scores_NV: Tensor, uniform_N: Tensor, settings: Generation) -> Tensor:
    """(N,) tokens, by each row's uniform number in its cumulated probabilities, likeliest first.

    Temperature, then `top_k`, then `top_p`, each over what the one before left, as transformers'
    warpers do.
    """
    scores, tokens = torch.sort(scores_NV / settings.temperature, dim=-1, descending=True)
    if settings.top_k is not None and settings.top_k < scores.shape[1]:
        scores = scores.masked_fill(scores < scores[:, settings.top_k - 1, None], _NEVER)
    shares = torch.softmax(scores, -1, dtype=torch.float64)
    cumulated = shares.cumsum(-1)
    if settings.top_p < 1.0:
        shares = shares.masked_fill(cumulated - shares >= settings.top_p, 0.0)
        shares[:, 0].clamp_(min=1e-30)
        cumulated = shares.cumsum(-1)
    aim = uniform_N[:, None] * cumulated[:, -1:]
    place = (cumulated <= aim).sum(-1, keepdim=True)
    return tokens.gather(1, place.clamp(max=scores.shape[1] - 1)).squeeze(1)


def ends_tensor(ends: Sequence[int], vocabulary: int, device: torch.device) -> Tensor:
    """(E,) the ends that the model can say."""
    return torch.tensor([e for e in ends if 0 <= e < vocabulary], dtype=torch.int64, device=device)
