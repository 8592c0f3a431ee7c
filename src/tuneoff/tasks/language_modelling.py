"""What comes next? A decoder learns to continue texts, judged by perplexity.

    task: language_modelling
    max_length: 512
    packed: true
    data: {dataset: jsonl, train: stories.jsonl, columns: {text: story}}

Text is cut into blocks of at most max_length tokens; a block is one example, and in it each token
but the first is predicted from those before it: what Hugging Face computes for
`model(input_ids=block, labels=block)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tuneoff.data.tokenizing import check_length, tokenize
from tuneoff.datasets import Rows
from tuneoff.tasks import UNLABELLED, Examples, Task
from tuneoff.training.features import Form

if TYPE_CHECKING:
    from tuneoff.backbones.names import BackboneKind, Head


class LanguageModelling(Task):
    """Column: text."""

    max_length: int = Field(default=512, ge=2)
    """Tokens per block."""
    packed: bool = False
    """Blocks of exactly max_length from all texts end to end; else a block holds one text, or a
    part of a long one. In a packed block a text also sees the one before it."""
    end_of_text: bool = True
    """Put the tokenizer's end-of-text token after each text, where the tokenizer does not."""

    head: ClassVar[str | None] = "causal_lm"
    form: ClassVar[Form] = "token"
    metrics: ClassVar[tuple[str, ...]] = ("perplexity", "loss", "mean_batch_perplexity")
    hub_tag: ClassVar[str] = "text-generation"

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        return "Says how likely a text is, token by token."

    def example(self, head: Head, kind: BackboneKind) -> str:
        return "Mary came home late, and went to bed."

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["text"]

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` alone: there are no classes."""
        return {"columns": self.text_columns(train.column_names)}

    def encode(
        self,
        batch: Mapping[str, list[Any]],
        facts: Mapping[str, Any],
        tokenizer: Any,
    ) -> Examples:
        """The blocks of some texts, each text for itself."""
        texts = self._token_ids(batch, tokenizer)
        return _examples([block for ids in texts for block in self._blocks(ids)])

    def examples(
        self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, *, labelled: bool = True
    ) -> Iterator[Examples]:
        if not self.packed:
            yield from super().examples(rows, facts, tokenizer, labelled=labelled)
            return
        rest: list[int] = []  # what did not fill a block goes on with the next texts
        for batch in rows.batches(columns=["text"]):
            for ids in self._token_ids(batch, tokenizer):
                rest += ids
            whole = len(rest) - len(rest) % self.max_length
            yield _examples(self._blocks(rest[:whole]))
            rest = rest[whole:]
        yield _examples([rest] if rest else [])

    def _token_ids(self, batch: Mapping[str, list[Any]], tokenizer: Any) -> list[list[int]]:
        check_length(tokenizer, self.max_length)
        texts = tokenize(tokenizer, [str(text) for text in batch["text"]], max_length=None).ids
        end = tokenizer.eos_token_id if self.end_of_text else None
        if end is None:
            return texts
        return [ids if ids and ids[-1] == end else [*ids, end] for ids in texts]

    def _blocks(self, ids: Sequence[int]) -> list[Sequence[int]]:
        return [ids[at : at + self.max_length] for at in range(0, len(ids), self.max_length)]


def _examples(blocks: Sequence[Sequence[int]]) -> Examples:
    """Blocks with their targets; a block of one token has nothing to predict and is left out."""
    kept = [block for block in blocks if len(block) > 1]
    targets = [np.array([*block[1:], UNLABELLED], np.int64) for block in kept]
    short = len(blocks) - len(kept)
    return Examples(
        ids=kept,
        targets=np.concatenate(targets) if targets else np.empty(0, np.int64),
        left_out={"block of one token": short} if short else {},
    )
