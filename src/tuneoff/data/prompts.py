"""Prompts: a template filled with a row's columns, cut where a model takes no more."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneoff.data.tokenizing import Tokenized, tokenize
from tuneoff.errors import DataError


@dataclass(frozen=True)
class Template:
    """Text with columns in braces. pieces: (text, the column after it, or None at the end)."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parsed(cls, text: str) -> Template:
        """From `Question: {text}`; `{{` and `}}` are braces themselves.

        Raises ValueError for a template without columns, or with more than names in its braces.
        """
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{error} in {text!r}; write {{{{ for a brace itself") from None
        for _, column, spec, conversion in parts:
            if column is not None and (spec or conversion or not column.isidentifier()):
                raise ValueError(
                    f"braces hold the name of a column, and {{{column}}} is none (in {text!r}); "
                    "write {{ for a brace itself"
                )
        if not any(column for _, column, *_ in parts):
            raise ValueError(f"{text!r} names no column; put one in braces, such as {{text}}")
        return cls(tuple((literal, column) for literal, column, *_ in parts))

    @property
    def columns(self) -> tuple[str, ...]:
        """Each column once, in the order of the template."""
        return tuple(dict.fromkeys(column for _, column in self.pieces if column is not None))

    def filled(self, row: Mapping[str, str]) -> str:
        """The prompt of a row."""
        return "".join(text + (row[column] if column else "") for text, column in self.pieces)

    def prompts(
        self, rows: Sequence[Mapping[str, str]], tokenizer: Any, max_length: int, *, ends_text: bool
    ) -> Tokenized:
        """Token ids of the rows' prompts, of at most max_length tokens: the longest columns are cut
        at their ends, the template's words never. ends_text: with the token that ends a text, where
        the tokenizer adds one; a decoder that goes on must not read it.

        Raises DataError where the template alone is too long.
        """
        made = self._ids(rows, tokenizer, ends_text)
        long = [place for place, ids in enumerate(made) if len(ids) > max_length]
        for place in long:
            made[place] = self._cut(rows[place], tokenizer, max_length, ends_text, made[place])
        return Tokenized(made, None, len(long))

    def _ids(
        self, rows: Sequence[Mapping[str, str]], tokenizer: Any, ends_text: bool
    ) -> list[list[int]]:
        made = tokenize(tokenizer, [self.filled(row) for row in rows], max_length=None).ids
        ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
        if ends_text:
            return made
        return [ids[:-1] if len(ids) > 1 and ids[-1] in ends else ids for ids in made]

    def _cut(
        self,
        row: Mapping[str, str],
        tokenizer: Any,
        max_length: int,
        ends_text: bool,
        ids: list[int],
    ) -> list[int]:
        """A row's prompt once its columns are short enough. Tokens of a column for itself are not
        quite those that it has in the prompt, so it is tried again until it fits."""
        cut = dict(row)
        while (excess := len(ids) - max_length) > 0:
            pieces = {name: _starts(tokenizer, cut[name]) for name in self.columns}
            if not any(pieces.values()):
                raise DataError(
                    f"the template alone has {len(ids)} tokens, and max_length is {max_length}; "
                    "raise max_length or shorten the template"
                )
            kept = {name: len(starts) for name, starts in pieces.items()}
            for _ in range(min(excess, sum(kept.values()))):
                kept[max(kept, key=lambda name: kept[name])] -= 1
            for name, starts in pieces.items():
                if kept[name] < len(starts):
                    cut[name] = cut[name][: starts[kept[name]]]
            (ids,) = self._ids([cut], tokenizer, ends_text)
        return ids


def _starts(tokenizer: Any, text: str) -> list[int]:
    """Where each token of a text begins, in characters; each character where the tokenizer cannot
    say. A character of several tokens is cut as a whole."""
    if not tokenizer.is_fast:
        return list(range(len(text)))
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    return [min(start, len(text) - 1) for start, _ in encoding.offsets]
