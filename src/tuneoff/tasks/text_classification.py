"""Which class is a text, or a pair of texts, of?

    task: text_classification
    max_length: 256
    data: {dataset: csv, train: reviews.csv, columns: {text: review, label: stars}}

Two texts (a question and its paraphrase, a title and its content): name the second column
`text_pair`. The tokenizer then joins them as it does for its model; where it puts no mark between
them (GPT-2's, Llama's), `between` stands in front of the second.

What the head reads: an encoder's first token, a decoder's last real token, and of an
encoder-decoder (T5) the decoder's state at the end of the text, as transformers'
`T5ForSequenceClassification` does; with `head_on: encoder` the mean of its encoder's output, and
its decoder is not loaded at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tuneoff.data.classes import class_name, classes_of
from tuneoff.data.tokenizing import check_length, marks_pairs, tokenize
from tuneoff.datasets import Rows
from tuneoff.errors import DataError, Problem
from tuneoff.tasks import UNLABELLED, Examples, Task

if TYPE_CHECKING:
    from tuneoff.backbones.names import BackboneKind, Head


class TextClassification(Task):
    """Columns: text, label, and text_pair where there is one."""

    max_length: int = Field(default=128, ge=2)
    """Tokens per example, special ones included; longer texts are cut, and counted.
    Source: transformers' run_glue.py."""
    between: str = "\n"
    """What parts two texts for a tokenizer that has no mark for that."""
    head_on: Literal["encoder", "decoder"] | None = None
    """Of an encoder-decoder: which stack the head reads. None is `decoder`, as in transformers."""

    head: ClassVar[str | None] = "sequence_classification"
    # micro_f1 is known too, and left out: with one label per row it is the accuracy
    metrics: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "matthews",
        "loss",
        "per_class",
        "confusion_matrix",
    )
    label: ClassVar[str | None] = "label"

    @property
    def any_backbone(self) -> bool:
        return self.head_on is None

    def head_for(self, kind: BackboneKind) -> Head:
        return "encoder_classification" if self.head_on == "encoder" else "sequence_classification"

    def problems(self, kind: BackboneKind) -> list[Problem]:
        if self.head_on is None or kind == "encoder_decoder":
            return []
        article = "an" if kind == "encoder" else "a"
        return [
            Problem(
                "head_on",
                "says which stack of an encoder-decoder the head reads, and this backbone is "
                f"{article} {kind}; leave it out, or put such backbones into a task of their own",
            )
        ]

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["text", "text_pair"] if "text_pair" in column_names else ["text"]

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` and `classes`, in the order of their indices.

        Raises DataError when there are not at least two classes.
        """
        return {"columns": self.text_columns(train.column_names), "classes": classes_of(train)}

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        check_length(tokenizer, self.max_length)
        texts, *pairs = [[str(text) for text in batch[name]] for name in facts["columns"]]
        second = pairs[0] if pairs else None
        if second is not None and not marks_pairs(tokenizer):
            second = [self.between + text for text in second]
        made = tokenize(tokenizer, texts, second, max_length=self.max_length)
        if not all(made.ids):
            empty = next(text for text, ids in zip(texts, made.ids, strict=True) if not ids)
            raise DataError(f"the tokenizer makes no token of the text {empty!r}; leave it out")
        if facts.get("kind") == "encoder_decoder" and self.head_on != "encoder":
            check_ends(tokenizer, made.ids, texts, second is not None)
        return Examples(
            made.ids, self._targets(batch, facts, len(texts)), made.types, made.truncated
        )

    def _targets(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], count: int
    ) -> np.ndarray:
        if "label" not in batch:
            return np.full(count, UNLABELLED, np.int64)
        classes: list[str] = facts["classes"]
        index = {name: position for position, name in enumerate(classes)}
        names = list(map(class_name, batch["label"]))
        if unknown := [name for name in names if name not in index]:
            raise DataError(
                f"the label {unknown[0]!r} is none of the classes of train: {', '.join(classes)}"
            )
        return np.array([index[name] for name in names if name is not None], np.int64)


def check_ends(
    tokenizer: Any, ids: Sequence[Sequence[int]], texts: Sequence[str], paired: bool
) -> None:
    """Raises DataError for texts that do not end as an encoder-decoder's classifier needs them: it
    reads its answer at the last of the tokens that end a text, of which all have the same number.
    """
    end = tokenizer.eos_token_id
    due = list(tokenizer(*("a", "b")[: 1 + paired])["input_ids"]).count(end)
    if not due:
        raise DataError(
            f"the tokenizer of the backbone ({type(tokenizer).__name__}) puts no token at the end "
            "of a text, and an encoder-decoder is asked for the class there; give one that does, "
            "or read its encoder: `head_on: encoder`"
        )
    for text, row in zip(texts, ids, strict=True):
        if (found := list(row).count(end)) != due:
            raise DataError(
                f"the text {text[:80]!r} has the token that ends a text, "
                f"{tokenizer.eos_token!r}, {found - due} times too often: an encoder-decoder is "
                "asked for the class there. Take it out of the text, or set `head_on: encoder`"
            )
