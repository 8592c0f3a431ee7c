"""Which class is a text, or a pair of texts, of?

    task: text_classification
    max_length: 256
    data: {dataset: csv, train: reviews.csv, columns: {text: review, label: stars}}

Two texts (a question and its paraphrase, a premise and a hypothesis): name the second column
`text_pair`. The tokenizer then joins them as it does for its model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tuneoff.data.classes import class_name, ordered_classes
from tuneoff.data.tokenizing import check_length, tokenize
from tuneoff.datasets import Rows
from tuneoff.errors import DataError
from tuneoff.tasks import UNLABELLED, Examples, Task


class TextClassification(Task):
    """Columns: text, label, and text_pair where there is one."""

    max_length: int = Field(default=128, ge=2)
    """Tokens per example, special ones included; longer texts are cut, and counted.
    Source: transformers' run_glue.py."""

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

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["text", "text_pair"] if "text_pair" in column_names else ["text"]

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` and `classes`, in the order of their indices.

        Raises DataError when there are not at least two classes.
        """
        train.require(["label"])
        met: set[str] = set()
        for batch in train.batches(columns=["label"]):
            met.update(filter(None, map(class_name, batch["label"])))
        classes = train.class_names("label") or ordered_classes(met)
        if len(met) < 2:
            raise DataError(
                f"{train.where(0)}: the label column of train holds {len(met)} class"
                f"{'' if len(met) == 1 else 'es'} ({', '.join(sorted(met)) or 'none'}); "
                "classification needs two or more"
            )
        if len(met) == len(train) > 20:
            raise DataError(
                f"{train.where(0)}: every row of train has a label of its own ({len(met)}); is "
                "`label` the right column? Say which one it is: `columns: {label: ...}`"
            )
        return {"columns": self.text_columns(train.column_names), "classes": list(classes)}

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        check_length(tokenizer, self.max_length)
        texts, *pairs = [[str(text) for text in batch[name]] for name in facts["columns"]]
        made = tokenize(tokenizer, texts, pairs[0] if pairs else None, max_length=self.max_length)
        if not all(made.ids):
            empty = next(text for text, ids in zip(texts, made.ids, strict=True) if not ids)
            raise DataError(f"the tokenizer makes no token of the text {empty!r}; leave it out")
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
