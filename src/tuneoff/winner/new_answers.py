"""Answers to new rows in columns, by what the task answers in.

    classes      prediction, probability_<class>
    spans        prediction, answer_start, answer_end (characters of the context)
    texts        prediction
    losses       loss (nats, the mean over tokens), perplexity, tokens

Nothing of a row's answer is asked for; one that gives nothing to answer is an error that says where
it stands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tuneoff.backbones.names import CLASSIFIERS
from tuneoff.errors import DataError
from tuneoff.metrics import Predicted
from tuneoff.tasks import ROW, Examples
from tuneoff.training.features import Features
from tuneoff.winner.loaded import Loaded
from tuneoff.winner.new_rows import Piece

DIGITS = 6
"""Decimals of a written probability or loss: what rounding in float32 leaves certain."""


def new_answers(loaded: Loaded, piece: Piece, batch_size: int) -> dict[str, Sequence[object]]:
    """The columns of a piece's answers, in the order of its rows.

    Raises DataError for a row that gives nothing to answer.
    """
    classes, task = loaded.manifest.classes, loaded.task
    if loaded.scorer.backbone.head in CLASSIFIERS:
        shares_NC = loaded.probabilities(piece.texts, batch_size)
        return _classes(classes, task.predictions(shares_NC), shares_NC)
    features, owner = _examples(loaded, piece)
    answerer = loaded.answerer
    if answerer.writes:
        found = answerer.texts(features, batch_size)
    else:
        found = answerer.answers(features, batch_size=batch_size)
    if found.texts is not None:
        return {"prediction": list(found.texts), **found.beside}
    if found.predictions is not None and found.probabilities is not None:
        return _classes(classes, found.predictions, found.probabilities)
    return _losses(found, owner, piece.count)


def _classes(
    names: Sequence[str], chosen: np.ndarray, shares_NC: np.ndarray
) -> dict[str, Sequence[object]]:
    columns: dict[str, Sequence[object]] = {"prediction": [names[index] for index in chosen]}
    for index, name in enumerate(names):
        wide = shares_NC[:, index].astype(np.float64)
        columns[f"probability_{name}"] = np.round(wide, DIGITS).tolist()
    return columns


def _losses(found: Predicted, owner: np.ndarray, count: int) -> dict[str, Sequence[object]]:
    """A row's blocks together, each token with the same weight."""
    tokens = np.bincount(owner, found.tokens, minlength=count).astype(np.int64)
    losses = np.bincount(owner, found.losses * found.tokens, minlength=count) / tokens
    return {
        "loss": np.round(losses, DIGITS).tolist(),
        "perplexity": [
            round(math.exp(loss), DIGITS) if loss < 700 else math.inf for loss in losses
        ],
        "tokens": tokens.tolist(),
    }


def _examples(loaded: Loaded, piece: Piece) -> tuple[Features, np.ndarray]:
    """The examples of a piece's rows, and the row that each belongs to."""
    from tuneoff.data.token_store import in_memory

    form = loaded.task.form_for(loaded.scorer.backbone.head)
    made = _encoded(loaded, piece.texts, range(piece.count))
    if form == "span":
        for place, reason in made.bad.items():
            raise DataError(f"{piece.where(place)}: {reason}")
        features = in_memory([made], form)
        assert features.extras is not None
        return features, features.extras["row"].to_numpy()
    if len(made.ids) == piece.count and not made.left_out:
        return in_memory([made], form), np.arange(piece.count)
    alone = []  # rows of several examples, or none: each for itself says which
    for row in range(piece.count):
        one = {name: values[row : row + 1] for name, values in piece.texts.items()}
        alone.append(_encoded(loaded, one, [row]))
        if not alone[-1].ids:
            why = [*alone[-1].bad.values(), *alone[-1].left_out]
            raise DataError(
                f"{piece.where(row)}: nothing to answer ({why[0] if why else 'no token'}); change "
                "it, or leave the row out"
            )
    owner = np.repeat(np.arange(piece.count), [len(one.ids) for one in alone])
    return in_memory(alone, form), owner


def _encoded(loaded: Loaded, texts: dict[str, list[str]], rows: Sequence[int]) -> Examples:
    columns: dict[str, list[Any]] = {**texts, ROW: list(rows)}
    return loaded.task.encode(columns, loaded.facts(), loaded.tokenizer)
