"""Texts -> token ids, in bulk, as the tokenizer itself would give them row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tuneoff.errors import DataError

_CHARACTERS = 1 << 20
_NO_LIMIT = 1 << 30  # tokenizers without a length of their own say about 10**30


class Tokenized(NamedTuple):
    """ids and types: one list per text; types is None where the tokenizer has no segments;
    truncated: how many texts were cut."""

    ids: list[list[int]]
    types: list[list[int]] | None
    truncated: int


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int | None,
    special: bool = True,
) -> Tokenized:
    """Token ids with the special tokens that the tokenizer adds (`special`), cut to max_length.

    Equal to `tokenizer(text, pair, truncation=True, max_length=max_length)` for each row; a pair
    is cut at its longer text first. max_length None cuts nothing.
    """
    if tokenizer.is_fast:
        return _tokenize_fast(tokenizer, texts, pairs, max_length, special)
    return _tokenize_slow(tokenizer, texts, pairs, max_length, special)


def marks_pairs(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a special token between two texts."""
    mask = tokenizer("a", "b", return_special_tokens_mask=True)["special_tokens_mask"]
    first = mask.index(0)
    return 1 in mask[first : len(mask) - mask[::-1].index(0)]


def check_length(tokenizer: Any, max_length: int) -> None:
    """Raises DataError when the model behind the tokenizer takes fewer tokens than max_length."""
    own = tokenizer.model_max_length
    if own < min(max_length, _NO_LIMIT):
        raise DataError(
            f"max_length {max_length} is more than the {own} tokens that the backbone's tokenizer "
            f"allows; set max_length to {own} or less"
        )


def _tokenize_fast(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int | None,
    special: bool,
) -> Tokenized:
    # The calls that `tokenizer(...)` makes, without offsets (short texts take three quarters of the
    # time) and with the overflow, which tells what was cut.
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils import PaddingStrategy

    tokenizer.set_truncation_and_padding(
        padding_strategy=PaddingStrategy.DO_NOT_PAD,
        truncation_strategy=TruncationStrategy.DO_NOT_TRUNCATE
        if max_length is None
        else TruncationStrategy.LONGEST_FIRST,
        max_length=max_length,
        stride=0,
        pad_to_multiple_of=None,
        padding_side=None,
    )
    backend = tokenizer.backend_tokenizer
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    rows = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    made = Tokenized([], [] if "token_type_ids" in tokenizer.model_input_names else None, 0)
    for some in _chunks(rows):
        encodings = backend.encode_batch_fast(some, add_special_tokens=special)
        made.ids.extend(one.ids for one in encodings)
        if made.types is not None:
            made.types.extend(one.type_ids for one in encodings)
        truncated = made.truncated + sum(bool(one.overflowing) for one in encodings)
        made = made._replace(truncated=truncated)
    return made


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    """Rows of about a million characters: an encoding takes some hundred bytes per token, of the
    part that is cut off too."""
    start = characters = 0
    for end, row in enumerate(rows, start=1):
        characters += len(row) if isinstance(row, str) else sum(map(len, row))
        if characters > _CHARACTERS or end == len(rows):
            yield rows[start:end]
            start, characters = end, 0


def _tokenize_slow(
    tokenizer: Any,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int | None,
    special: bool,
) -> Tokenized:
    arguments = (list(texts),) if pairs is None else (list(texts), list(pairs))
    how = {"return_attention_mask": False, "add_special_tokens": special}
    whole = tokenizer(*arguments, **how, verbose=False)
    if max_length is None:
        return Tokenized(whole["input_ids"], whole.get("token_type_ids"), 0)
    cut = tokenizer(*arguments, truncation=True, max_length=max_length, **how)
    truncated = sum(
        len(short) < len(long)
        for short, long in zip(cut["input_ids"], whole["input_ids"], strict=True)
    )
    return Tokenized(cut["input_ids"], cut.get("token_type_ids"), truncated)
