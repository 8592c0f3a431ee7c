"""Beam search, as transformers does it (`GenerationMixin._beam_search`, 5.23), prompt by prompt:
a search that has come to its end leaves the batch, and none sees another.

Axes: P searches still open (members and their prompts), B beams, C candidates, V vocabulary,
L tokens of prompt and text, M most new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tuneoff.training.choosing import constrain, ends_tensor
from tuneoff.training.generation import Generation
from tuneoff.training.steps import Prompts, Steps

_WORST = -1e9
LEAVE = 8  # searches leave once one in so many has ended: leaving copies the caches


class Beams:
    """The open beams of P searches, and the best that they have finished."""

    def __init__(self, searches: int, beams: int, room: int, device: torch.device):
        self.open_PBM = torch.zeros((searches, beams, room), dtype=torch.int64, device=device)
        self.score_PB = torch.full((searches, beams), _WORST, device=device)
        self.score_PB[:, 0] = 0.0  # the beams begin alike: one of them goes first
        self.done_PBM = torch.zeros_like(self.open_PBM)
        self.done_length_PB = torch.zeros_like(self.open_PBM[:, :, 0])
        self.done_score_PB = torch.full_like(self.score_PB, _WORST)
        self.is_done_PB = torch.zeros_like(self.score_PB, dtype=torch.bool)
        self.may_improve_P = torch.ones(searches, dtype=torch.bool, device=device)

    def extend(
        self, log_probs_PBV: Tensor, new: int, settings: Generation, ends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One more token: the beam that each open beam goes on from and its token, (P, B) each.

        Adds the beams' scores to `log_probs_PBV` in place.
        """
        beams, vocabulary = log_probs_PBV.shape[1:]
        total = log_probs_PBV.add_(self.score_PB[:, :, None]).flatten(1)
        # So many that B of them do not end.
        count = min(max(2, 1 + len(ends)) * beams, total.shape[1])
        score_PC, index_PC = total.topk(count, dim=1)
        parent_PC, token_PC = index_PC // vocabulary, index_PC % vocabulary
        ending_PC = torch.isin(token_PC, ends)
        if new + 1 == settings.max_new_tokens:
            ending_PC = torch.ones_like(ending_PC)
        candidates = self.open_PBM.gather(1, parent_PC[..., None].expand(-1, -1, self.room))
        candidates[:, :, new] = token_PC
        self._finish(candidates, score_PC, ending_PC, token_PC, new, settings, ends)
        open_score = score_PC + ending_PC * _WORST
        best = open_score.topk(beams, dim=1)[1]
        self.score_PB = open_score.gather(1, best)
        self.open_PBM = candidates.gather(1, best[..., None].expand(-1, -1, self.room))
        self._look_ahead(new + 1, settings)
        return parent_PC.gather(1, best), token_PC.gather(1, best)

    @property
    def room(self) -> int:
        """M."""
        return self.open_PBM.shape[2]

    def _finish(
        self,
        candidates: Tensor,
        score_PC: Tensor,
        ending_PC: Tensor,
        token_PC: Tensor,
        new: int,
        settings: Generation,
        ends: Tensor,
    ) -> None:
        """Take what has ended among the B best candidates into the B best finished."""
        beams = self.score_PB.shape[1]
        ended = ending_PC.clone()
        ended[:, beams:] = False
        score = score_PC / (new + 1) ** settings.length_penalty
        closed = ~self.may_improve_P
        if settings.early_stopping is True:
            closed = closed | self.is_done_PB.all(1)
        score = score + closed[:, None] * _WORST + ~ended * _WORST
        length = new + 1 - torch.isin(token_PC, ends).long()
        merged = torch.cat([self.done_score_PB, score], 1)
        best = merged.topk(beams, dim=1)[1]
        self.done_score_PB = merged.gather(1, best)
        self.is_done_PB = torch.cat([self.is_done_PB, ended], 1).gather(1, best)
        self.done_length_PB = torch.cat([self.done_length_PB, length], 1).gather(1, best)
        texts = torch.cat([self.done_PBM, candidates], 1)
        self.done_PBM = texts.gather(1, best[..., None].expand(-1, -1, self.room))

    def _look_ahead(self, written: int, settings: Generation) -> None:
        """Can an open beam still beat the worst finished one? The length that it is judged by is
        the present one, or with "never" and a penalty above 0 the longest."""
        penalty, length = settings.length_penalty, written
        if settings.early_stopping == "never" and penalty > 0.0:
            length = settings.max_new_tokens
        best = self.score_PB[:, :1] / length**penalty
        worst = self.done_score_PB.min(1, keepdim=True)[0]
        worst = torch.where(self.is_done_PB, worst, _WORST)
        self.may_improve_P &= (best > worst).any(1)

    def ended(self, settings: Generation) -> Tensor:
        """(P,) searches whose answer stands."""
        ended = ~self.may_improve_P
        return ended | self.is_done_PB.all(1) if settings.early_stopping is True else ended

    def texts(self) -> list[list[int]]:
        """The best finished text of each search."""
        lengths = self.done_length_PB[:, 0].tolist()
        return [row[:n] for row, n in zip(self.done_PBM[:, 0].tolist(), lengths, strict=True)]

    def keep(self, searches: Tensor) -> None:
        """These searches alone."""
        for name, value in vars(self).items():
            setattr(self, name, value[searches])


@torch.no_grad()
def search_beams(
    steps: Steps, prompts: Prompts, settings: Generation, ends: Sequence[int]
) -> list[list[int]]:
    """The best text of every member's every prompt, as `search.search`."""
    room, beams = settings.max_new_tokens, settings.num_beams
    logits = steps.begin(prompts, room, beams)
    stop = ends_tensor(ends, logits.shape[1], steps.device)
    front = steps.history(prompts).repeat(steps.members, 1)
    texts: list[list[int]] = [[] for _ in range(len(front))]
    state = Beams(len(front), beams, room, steps.device)
    searches = torch.arange(len(front), device=steps.device)
    for new in range(room):
        log_probs = torch.log_softmax(logits.float(), -1)
        if new == 0:
            log_probs = log_probs.repeat_interleave(beams, 0)
        if settings.no_repeat_ngram_size or new < settings.min_new_tokens:
            before = front[searches].repeat_interleave(beams, 0)
            history = torch.cat([before, state.open_PBM[:, :, :new].flatten(0, 1)], 1)
            log_probs = constrain(log_probs, history, new, settings, stop)
        log_probs = log_probs.unflatten(0, (-1, beams))
        parents, tokens = state.extend(log_probs, new, settings, stop)
        ended = state.ended(settings)
        gone = int(ended.sum())
        if new == room - 1 or gone == len(searches):
            break
        first = torch.arange(len(searches), device=steps.device)[:, None] * beams
        if new > 0:
            steps.reorder((first + parents).flatten())
        if gone * LEAVE >= len(searches):
            _collect(texts, state.texts(), searches, ended)
            left = (~ended).nonzero().squeeze(1)
            steps.keep((left[:, None] * beams + torch.arange(beams, device=left.device)).flatten())
            state.keep(left)
            searches, tokens = searches[left], tokens[left]
        logits = steps.advance(tokens.flatten())
    _collect(texts, state.texts(), searches, torch.ones_like(searches, dtype=torch.bool))
    return texts


def _collect(
    into: list[list[int]], found: list[list[int]], searches: Tensor, ended: Tensor
) -> None:
    for text, search, is_ended in zip(found, searches.tolist(), ended.tolist(), strict=True):
        if is_ended:
            into[search] = text
