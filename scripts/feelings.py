"""Words of feeling: which of them praise and which blame, found by counting, and a loss that names
them from a pooled vector.

Used by the script that pretrains the built-in encoder. A small model that names all masked words
from [CLS] spends itself on topics; what people ask of a text is often how it judges. So the last
part of pretraining asks for the words of feeling alone: a text holds its own label, as emoticons
did for Go, Bhayani and Huang 2009 ("Twitter Sentiment Classification using Distant Supervision")
and emojis for Felbo et al. 2017 (DeepMoji). No labelled text is used.
Axes: V vocabulary, D hidden size, E words of feeling, B rows, M masked words of feeling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PRAISE = [
    "good",
    "lovely",
    "excellent",
    "fortunate",
    "pleasant",
    "delightful",
    "perfect",
    "loved",
    "love",
    "happy",
]
BLAME = [
    "bad",
    "horrible",
    "poor",
    "unfortunate",
    "unpleasant",
    "disgusting",
    "evil",
    "hated",
    "hate",
    "unhappy",
]
"""Seeds. Source: Hamilton et al. 2016, "Inducing Domain-Specific Sentiment Lexicons from Unlabeled
Corpora", table of seeds for standard English."""


def polarity(vectors_VD: Tensor, counts_V: np.ndarray, tokenizer: Any, most: float) -> Tensor:
    """(V,) how much nearer a token's counted vector is to the seeds of praise than to the others;
    0 for tokens that are too seldom to be known (100 times) or so frequent (a share above `most`)
    that they say no more than grammar does. Source: Turney and Littman 2003, SO-LSA.

    Raises SystemExit where the books know no seed of either side.
    """
    unit = F.normalize(vectors_VD.float(), dim=1).nan_to_num(0)
    known = tokenizer.get_vocab()
    sides = [[known[word] for word in seeds if word in known] for seeds in (PRAISE, BLAME)]
    if not all(sides):
        raise SystemExit("the vocabulary lacks every seed of praise or of blame; give more books")
    praise, blame = (unit[side].mean(0) for side in sides)
    found = unit @ (praise - blame)
    outside = (counts_V <= 100) | (counts_V > most * counts_V.sum())
    found[torch.from_numpy(outside)] = 0
    found[: len(tokenizer.all_special_ids)] = 0
    return found


class Feelings(torch.nn.Module):
    """Names masked words of feeling, and whether they praise, from the pooled vector of a row."""

    def __init__(self, polarity_V: Tensor, counts_V: np.ndarray, each: int, hidden: int) -> None:
        super().__init__()
        each = min(each, int((polarity_V > 0).sum()), int((polarity_V < 0).sum()))
        words = torch.cat([polarity_V.topk(each).indices, (-polarity_V).topk(each).indices])
        place = torch.full((len(polarity_V),), -1)
        place[words] = torch.arange(2 * each)
        self.register_buffer("words", words)  # (E,)
        self.register_buffer("place", place)  # (V,) in `words`, or -1
        self.register_buffer("praise", (torch.arange(2 * each) < each).float())  # (E,)
        strength = polarity_V[words].abs()
        self.register_buffer("weight", strength / strength.mean())  # (E,)
        share = torch.from_numpy(counts_V)[words].float()
        self.bias = torch.nn.Parameter((share / share.sum()).log())
        self.named = torch.nn.Linear(hidden, hidden)
        self.judged = torch.nn.Linear(hidden, 1)

    def losses(
        self, pooled_BD: Tensor, table_VD: Tensor, row_M: Tensor, beside_M: Tensor, truth_M: Tensor
    ) -> dict[str, Tensor]:
        """`named`, `named_beside`: nats a word among E, from its own row and from its neighbour;
        `judged`, `judged_beside`: nats a word, praise against blame, the clearer ones heavier.

        row_M, beside_M: rows of masked words; truth_M: their tokens; those of feeling count.
        """
        at_M = self.place[truth_M]
        chosen = at_M >= 0
        row_M, beside_M, at_M = row_M[chosen], beside_M[chosen], at_M[chosen]
        scores_BE = (self.named(pooled_BD) @ table_VD[self.words].T + self.bias).float()
        says_B = self.judged(pooled_BD)[:, 0].float()
        praise_M, weight_M = self.praise[at_M], self.weight[at_M]
        return {
            "named": F.cross_entropy(scores_BE[row_M], at_M),
            "named_beside": F.cross_entropy(scores_BE[beside_M], at_M),
            "judged": F.binary_cross_entropy_with_logits(says_B[row_M], praise_M, weight_M),
            "judged_beside": F.binary_cross_entropy_with_logits(
                says_B[beside_M], praise_M, weight_M
            ),
        }
