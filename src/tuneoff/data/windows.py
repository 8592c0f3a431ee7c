"""Questions with their contexts, cut into overlapping windows where they are longer than a model
reads.

Encoders read `[CLS] question [SEP] part of the context [SEP]`, as their tokenizer joins a pair;
decoders `question EOS part of the context`. Windows of one context overlap by `stride` tokens.
Source: transformers' `run_qa.py`, whose windows these are.
Axes: L tokens of a window, C of them from the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneoff.errors import DataError

TOO_LONG = "the question leaves no room for its context"


@dataclass(frozen=True)
class Window:
    """A question and a part of its context.

    row: place of the question among those given; ids: (L,) tokens; types: (L,) segments or None;
    first: place of the first context token; spans: (C, 2) characters [from, to) of each context
    token in the context; blank: place of the token that stands for `no answer here`.
    """

    row: int
    ids: Sequence[int]
    types: Sequence[int] | None
    first: int
    spans: np.ndarray
    blank: int

    def answer(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and last token of characters [start, end); None where they are not all in."""
        spans = self.spans
        if not len(spans) or start < spans[0, 0] or end > spans[-1, 1]:
            return None
        first = int(np.searchsorted(spans[:, 0], start, "right")) - 1
        last = int(np.searchsorted(spans[:, 1], end, "left"))
        return self.first + first, self.first + last


def pair_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_length: int, stride: int
) -> Iterator[Window]:
    """The windows of an encoder, question by question. Those of `too_long` must not be here."""
    if not questions:
        return
    made = tokenizer(
        list(questions),
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )
    rows = made["overflow_to_sample_mapping"]
    types = made.get("token_type_ids")
    for place, (row, encoding) in enumerate(zip(rows, made.encodings, strict=True)):
        inside = np.flatnonzero(np.array(encoding.sequence_ids, object) == 1)
        first = int(inside[0]) if len(inside) else 0
        spans = np.array(encoding.offsets, np.int32).reshape(-1, 2)[inside]
        ids = encoding.ids
        yield Window(row, ids, types and types[place], first, spans, _blank(tokenizer, ids))


def sequence_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_length: int, stride: int
) -> Iterator[Window]:
    """The windows of a decoder, question by question. Those of `too_long` must not be here."""
    if not questions:
        return
    fronts = _fronts(tokenizer, questions)
    read = tokenizer(
        list(contexts),
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    for row, front in enumerate(fronts):
        ids = read["input_ids"][row]
        spans = np.array(read["offset_mapping"][row], np.int32).reshape(-1, 2)
        room = max_length - len(front)
        for at in range(0, max(len(ids), 1), room - stride):
            whole = [*front, *ids[at : at + room]]
            blank = _blank(tokenizer, whole)
            yield Window(row, whole, None, len(front), spans[at : at + room], blank)
            if at + room >= len(ids):
                break


def too_long(
    tokenizer: Any, questions: Sequence[str], max_length: int, stride: int, *, pair: bool
) -> np.ndarray:
    """(n,) whether a question is so long that windows could not go forward: they would hold no
    more context than they share."""
    if pair:
        special = tokenizer.num_special_tokens_to_add(pair=True)
        ids = tokenizer(list(questions), add_special_tokens=False, verbose=False)["input_ids"]
        lengths = np.array([len(one) + special for one in ids])
    else:
        lengths = np.array([len(front) for front in _fronts(tokenizer, questions)])
    return np.asarray(max_length - lengths <= stride)


def check_tokenizer(tokenizer: Any, *, pair: bool) -> None:
    """Raises DataError for a tokenizer that cannot say where in a text its tokens stand."""
    if not tokenizer.is_fast:
        raise DataError(
            f"the backbone's tokenizer, {type(tokenizer).__name__}, does not say where in a text "
            "its tokens stand, which answers in spans need; give the backbone a `tokenizer.json` "
            "(a fast tokenizer), or use another backbone"
        )
    if not pair and tokenizer.eos_token_id is None:
        raise DataError(
            "the backbone's tokenizer names no end-of-text token, which separates the question "
            "from its context; set `eos_token` in its tokenizer_config.json"
        )


def _fronts(tokenizer: Any, questions: Sequence[str]) -> list[list[int]]:
    """Each question as the tokenizer opens a text, and the end-of-text token after it."""
    end = tokenizer.eos_token_id
    read = tokenizer(list(questions), return_attention_mask=False, verbose=False)["input_ids"]
    return [[*ids, end] if not ids or ids[-1] != end else ids for ids in read]


def _blank(tokenizer: Any, ids: Sequence[int]) -> int:
    """The place of the classification token, or of the one that begins a text, or the first."""
    for token in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        if token is not None and token in ids:
            return ids.index(token)
    return 0
