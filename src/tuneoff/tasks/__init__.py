"""Tasks: rows -> features -> loss -> predictions. One file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tuneoff.errors import Problem
from tuneoff.metrics import Predicted
from tuneoff.settings import Settings
from tuneoff.training.features import Form

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.names import BackboneKind, Head
    from tuneoff.datasets import Rows
    from tuneoff.training.features import Features
    from tuneoff.training.generation import Generation
    from tuneoff.training.layout import Layout

_ROWS = 1024  # rows that are tokenized at a time
UNLABELLED = -100
NEW_ROWS = "new"
"""The split, as `encode` is told, of rows that are to be answered and need no answer."""
ROW = "__row__"
"""The column, beside those of the data, of where each row stands in its split."""


@dataclass(frozen=True)
class Examples:
    """Some rows as a task encodes them.

    ids: token ids of each example; types: its segment ids, or None; targets: int64, shaped as
    `Features` says of the form, end to end; target_lengths: (examples,) for the form `sequence`;
    truncated: rows that were cut; cut: what was cut -> rows, where several things can be;
    left_out: reason -> what gave no example; bad: place in the batch -> why that row gave none,
    which is refused, or left out and counted, as the study says; noted: what else was done to rows
    -> how many; extras: columns with one entry per example that Arrow can hold (texts, numbers,
    lists of them), the same ones in every piece: what the task needs later to make and to judge
    answers.
    """

    ids: Sequence[Sequence[int]]
    targets: np.ndarray
    types: Sequence[Sequence[int]] | None = None
    truncated: int = 0
    cut: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    bad: Mapping[int, str] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    target_lengths: np.ndarray | None = None
    extras: Mapping[str, Sequence[Any]] | None = None


@dataclass(frozen=True)
class Outputs:
    """What one run's model gave for the n examples of a split, in their order.

    losses: (n,) float64, nats, mean over an example's labelled tokens; tokens: (n,) how many those
    are; kept: what `Task.keep` kept of the logits, (n, C) or, for spans, a list of (length, 2);
    generated: new token ids of each prompt, where the split was answered in text.
    """

    losses: np.ndarray
    tokens: np.ndarray
    kept: Any = None
    generated: Sequence[Sequence[int]] | None = None


class Task(Settings):
    """What the model is asked to do. Subclasses add fields: lengths, options.

    A task reads columns by fixed names (`text`, `label`); the study's `columns` says what the data
    calls them.
    """

    head: ClassVar[str | None] = None
    """The head that the backbone grows: `sequence_classification`, `causal_lm`,
    `question_answering` or `seq2seq_lm`; a task that takes another one by the backbone's kind
    defines `head_for` instead."""
    form: ClassVar[Form] = "example"
    """How its targets are shaped; see `Features`. A task whose form follows from the head defines
    `form_for` instead."""
    metrics: ClassVar[tuple[str, ...]]
    """Metrics reported by default; the first is the one that methods are compared by."""
    label: ClassVar[str | None] = None
    """The column of the answer, where rows have one: splits are stratified by it."""
    answer: ClassVar[str | None] = None
    """The column of the right answer in words: rows without it are no use, but it does not count
    where the same text is looked for in several splits. New rows need not have it."""
    grouped_by: ClassVar[str | None] = None
    """A text column whose equal values stay together in splits that are made: rows that share it
    are no independent ones, as questions about one paragraph."""
    may_be_empty: ClassVar[frozenset[str]] = frozenset()
    """Text columns that a row may leave empty."""
    answers_in_text: ClassVar[bool] = False
    """Whether `answers` gives texts and references, so that metrics of texts can be computed."""
    hub_tag: ClassVar[str] = "text-classification"
    """What the Hugging Face hub calls such a task (`pipeline_tag` of a model card)."""

    @property
    def any_backbone(self) -> bool:
        """Whether its head is the same on every backbone, so that no configuration need be read
        to know it."""
        return self.head is not None

    def head_for(self, kind: BackboneKind) -> Head:
        """The head for a backbone of a kind: `encoder`, `decoder`, `encoder_decoder`.

        Raises TuneoffError, saying what is allowed, where the task cannot be put on such a one.
        """
        assert self.head is not None, f"{type(self).__name__} defines neither head nor head_for"
        return self.head  # type: ignore[return-value]

    def form_for(self, head: Head) -> Form:
        """How targets are shaped for a head."""
        return self.form

    def generation_for(self, head: Head) -> Generation | None:
        """How answers are generated; None for a task that generates nothing with this head."""
        return None

    def ends(self, head: Head, tokenizer: Any) -> Sequence[int] | None:
        """The tokens that end a generated answer; None for those that the backbone names."""
        return None

    def problems(self, kind: BackboneKind) -> list[Problem]:
        """What keeps the task from a backbone of this kind, with the path of the setting."""
        return []

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        """What a trained model does, in a sentence for its card. texts: the columns it reads."""
        what = " and ".join(texts)
        if not classes:
            return f"Answers {what}."
        names = ", ".join(f"`{name}`" for name in classes)
        return f"Classifies {what} into {len(classes)} classes: {names}."

    def example(self, head: Head, kind: BackboneKind) -> str | None:
        """A text that, tokenized, is what the model is asked, for the code of a model card; None
        where there is no such text."""
        return None

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        """The columns of text that the task reads, from those that the data has."""
        raise NotImplementedError

    def new_tokens(self, head: Head) -> tuple[str, ...]:
        """Tokens that the tokenizer gets where it does not know them, each with an embedding."""
        return ()

    def unwanted(self, row: Mapping[str, Any]) -> str | None:
        """Why the task's settings leave a whole row out, or None. `row`: texts and answer."""
        return None

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """Why a row, given as its texts and its answer, cannot be used; None where it can.

        Rows without a text, a label or an `answer` never come here. Bad rows are refused, or left
        out and counted, as the study says.
        """
        return None

    def answer_columns(self, column_names: Sequence[str]) -> list[str]:
        """The columns that new rows need not have: the label, the answer in words; by default no
        others."""
        return [name for name in (self.label, self.answer) if name is not None]

    def describe(self, train: Rows) -> Mapping[str, Any]:
        """What the data decides, from the train split alone, as plain JSON data.

        Always `columns`: the text columns that are read. For classification `classes` too. What
        `encode` is handed later also has `kind` and `head`, those of the backbone, `room`, the
        most tokens that it can read (None: no bound), `split` (`NEW_ROWS` for rows that are to be
        answered), and `on_bad_rows` of the dataset.
        """
        raise NotImplementedError

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        """Some rows, given as columns, as examples in row order.

        A batch without the answer's columns gets targets of `UNLABELLED` (-100). `batch[ROW]`
        says where the rows stand in the split.
        """
        raise NotImplementedError

    def features(
        self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, *, labelled: bool = True
    ) -> Features:
        """Token ids and targets of a split, unpadded, in row order, in memory; see `Features`.

        `tuneoff.data.encoded.prepare` does the same on disk and keeps the result.
        """
        from tuneoff.data.token_store import in_memory

        form = self.form_for(facts["head"]) if "head" in facts else self.form
        return in_memory(self.examples(rows, facts, tokenizer, labelled=labelled), form)

    def examples(
        self, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, *, labelled: bool = True
    ) -> Any:
        """Iterates over `Examples`, some rows at a time.

        Raises DataError for rows that gave no example, unless the study leaves them out.
        """
        from tuneoff.datasets._faults import Faults

        columns = [*facts["columns"], *(self.answer_columns(rows.column_names) if labelled else [])]
        rows.require(columns)
        faults = Faults(drop=facts.get("on_bad_rows") == "drop")
        start = 0
        for batch in rows.batches(_ROWS, columns):
            end = start + len(next(iter(batch.values())))
            made = self.encode({**batch, ROW: list(range(start, end))}, facts, tokenizer)
            for place, reason in made.bad.items():
                faults.add(rows.where(start + place), reason)
            yield made
            start = end
        faults.settle()

    def losses(self, logits: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Loss in nats of each row of the head, logits (rows, classes or vocabulary); for spans,
        logits (tokens, 2), of each example. By default cross entropy with `layout.targets`, in
        float32 at least, whatever the precision of the logits; zero where the target is -100."""
        import torch

        wide = logits if logits.dtype == torch.float64 else logits.float()
        return torch.nn.functional.cross_entropy(
            wide, layout.targets, reduction="none", ignore_index=UNLABELLED
        )

    def keep(self, logits: torch.Tensor, layout: Layout, tokenizer: Any) -> torch.Tensor | None:
        """What `answers` needs of the logits; rows stay as they are, columns may be dropped.

        None keeps nothing: a language model's logits over its vocabulary would fill the memory.
        """
        return None if layout.form in ("token", "sequence") else logits

    def prompts(self, features: Features, tokenizer: Any) -> list[list[int]]:
        """Token ids from which each example's answer is generated: what stands in front of the
        first labelled token of a decoder, the whole input of an encoder-decoder."""
        starts = features.offsets
        found = []
        for row in range(len(features)):
            ids = features.tokens[starts[row] : starts[row + 1]].tolist()
            if features.form == "token":
                targets = features.targets[starts[row] : starts[row + 1]]
                labelled = np.flatnonzero(targets != UNLABELLED)
                ids = ids[: int(labelled[0]) + 1] if len(labelled) else ids
            found.append(ids)
        return found

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        """A run's answers in columns. By default: classes by the greatest logit where logits were
        kept, and losses alone where not."""
        if outputs.kept is None:
            return Predicted(losses=outputs.losses, tokens=outputs.tokens)
        logits = np.asarray(outputs.kept)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return Predicted(
            losses=outputs.losses,
            tokens=outputs.tokens,
            labels=np.asarray(features.targets, np.int64),
            predictions=self.predictions(logits),
            classes=classes,
            probabilities=(powers / powers.sum(-1, keepdims=True)).astype(np.float32),
        )

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """(rows,) predicted indices from (rows, classes) logits: the greatest, the first of
        equals."""
        return np.asarray(logits.argmax(axis=-1), np.int64)
