"""Where in the context does the answer to a question stand?

    task: question_answering
    max_length: 384
    data: {dataset: squad, train: train-v1.1.json, test: dev-v1.1.json}

Two linear heads over every token say where the answer begins and where it ends. Contexts longer
than the model reads are cut into windows that overlap; each is an example to train on, and a
question is answered by the best span over its windows. With `answer_form: text_to_text` an
encoder-decoder reads `question: ... context: ...` and writes the answer instead.
Source: Devlin et al. 2019, section 4.2; transformers' `run_qa.py` and `utils_qa.py`; Raffel et al.
2020, appendix D.15, for the text form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tuneoff.data.best_spans import best_span
from tuneoff.data.span_answers import Answer, Place, answers_of, columns_of, place_of
from tuneoff.data.tokenizing import check_length, tokenize
from tuneoff.data.windows import (
    TOO_LONG,
    Window,
    check_tokenizer,
    pair_windows,
    sequence_windows,
    too_long,
)
from tuneoff.datasets import Rows
from tuneoff.errors import DataError, Problem
from tuneoff.metrics import Predicted
from tuneoff.study_parts import faults
from tuneoff.tasks import ROW, UNLABELLED, Examples, Outputs, Task
from tuneoff.training.features import Features, Form
from tuneoff.training.generation import Generation

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.names import BackboneKind, Head
    from tuneoff.training.layout import Layout

_CORRECTED = "answer_start corrected"
_CUT = "answer cut off by every window"
_ABSENT = "the answer does not stand in the context"


class QuestionAnswering(Task):
    """Columns: question, context, and answers (`{text: [...], answer_start: [...]}`) or answer
    with answer_start."""

    answer_form: Literal["span", "text_to_text"] = "span"
    """Mark the answer in the context, or write it (encoder-decoders)."""
    max_length: int = Field(default=384, ge=8)
    """Tokens per window, or of the input where the answer is written; longer inputs of that form
    are cut, and counted. Source: run_qa.py."""
    doc_stride: int = Field(default=128, ge=0)
    """Tokens of context that neighbouring windows share. Source: run_qa.py."""
    n_best_size: int = Field(default=20, ge=1)
    """How many tokens may begin, and end, an answer. Source: run_qa.py."""
    max_answer_length: int = Field(default=30, ge=1)
    """Tokens of the longest answer that is given. Source: run_qa.py."""
    cut_answers: Literal["no_answer", "left_out"] = "no_answer"
    """Questions in train whose answer no window holds whole: teach that there is none, as
    run_qa.py does, or leave them out. They are counted in any case."""
    generation: Generation = Generation(max_new_tokens=32)
    """How answers are written."""

    # exact_match and token_f1 are SQuAD's own
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "token_f1", "loss")
    answers_in_text: ClassVar[bool] = True
    grouped_by: ClassVar[str | None] = "context"
    hub_tag: ClassVar[str] = "question-answering"

    @model_validator(mode="after")
    def _together(self) -> Self:
        spans = ("doc_stride", "n_best_size", "max_answer_length", "cut_answers")
        idle, other = (
            (("generation",), "text_to_text") if self.answer_form == "span" else (spans, "span")
        )
        found: dict[tuple[str | int, ...], str] = {
            (name,): f"has no effect without `answer_form: {other}`; leave it out"
            for name in idle
            # the ledger holds every setting, and is read again
            if getattr(self, name) != type(self).model_fields[name].default
        }
        if self.answer_form == "span" and self.doc_stride >= self.max_length:
            found[("doc_stride",)] = (
                f"must be less than max_length ({self.max_length}), got {self.doc_stride}"
            )
        if found:
            raise faults(found)
        return self

    def head_for(self, kind: BackboneKind) -> Head:
        return "question_answering" if self.answer_form == "span" else "seq2seq_lm"

    def form_for(self, head: Head) -> Form:
        return "span" if head == "question_answering" else "sequence"

    def problems(self, kind: BackboneKind) -> list[Problem]:
        if self.answer_form == "text_to_text" and kind != "encoder_decoder":
            wanted = "text_to_text needs an encoder-decoder, such as T5; set answer_form: span"
            return [Problem("answer_form", wanted)]
        return []

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        does = "Marks" if self.answer_form == "span" else "Writes"
        return f"{does} the answer to a question about a context."

    def example(self, head: Head, kind: BackboneKind) -> str | None:
        if head == "seq2seq_lm":
            return "question: Who came home? context: Mary came home late."
        return None

    def generation_for(self, head: Head) -> Generation | None:
        return self.generation if head == "seq2seq_lm" else None

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["question", "context"]

    def answer_columns(self, column_names: Sequence[str]) -> list[str]:
        return columns_of(column_names)

    def fault(self, row: Mapping[str, Any]) -> str | None:
        answers = answers_of(row)
        if not answers:
            return "no answer"
        if self.answer_form == "span" and place_of(answers, str(row["context"])) is None:
            return _ABSENT
        return None

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` alone: there are no classes."""
        return {"columns": self.text_columns(train.column_names)}

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        check_length(tokenizer, self.max_length)
        room = facts.get("room")
        if room is not None and self.max_length > room:
            raise DataError(
                f"max_length {self.max_length} is more than the {room} tokens that the backbone "
                f"reads; set max_length to {room} or less"
            )
        # some questions have spaces in front, which would take room
        questions = [str(text).lstrip() for text in batch["question"]]
        contexts = [str(text) for text in batch["context"]]
        answers = _answers(batch, len(questions))
        rows = batch.get(ROW) or list(range(len(questions)))
        if self.answer_form == "text_to_text":
            return self._written(questions, contexts, answers, rows, tokenizer)
        return self._marked(questions, contexts, answers, rows, facts, tokenizer)

    def _marked(
        self,
        questions: list[str],
        contexts: list[str],
        answers: list[list[Answer]] | None,
        rows: Sequence[int],
        facts: Mapping[str, Any],
        tokenizer: Any,
    ) -> Examples:
        """Windows with the answer's first and last token."""
        import pyarrow as pa

        pair = facts.get("kind", "encoder") != "decoder"
        check_tokenizer(tokenizer, pair=pair)
        size = (self.max_length, self.doc_stride)
        bad = dict.fromkeys(
            np.flatnonzero(too_long(tokenizer, questions, *size, pair=pair)).tolist(), TOO_LONG
        )
        kept = [place for place in range(len(questions)) if place not in bad]
        cut = pair_windows if pair else sequence_windows
        windows: dict[int, list[Window]] = {}
        for window in cut(
            tokenizer, [questions[i] for i in kept], [contexts[i] for i in kept], *size
        ):
            windows.setdefault(kept[window.row], []).append(window)
        leave_out = self.cut_answers == "left_out" and facts.get("split") == "train"
        noted, left_out = Counter[str](), Counter[str]()
        chosen: list[tuple[int, Window, tuple[int, int]]] = []
        for place, its in windows.items():
            if not any(len(window.spans) for window in its):
                bad[place] = "the context has no token"
                continue
            where = None if answers is None else place_of(answers[place], contexts[place])
            if answers is None:
                marks = [(UNLABELLED, UNLABELLED)] * len(its)
            else:
                marks, whole = _marks(its, where)
                noted[_CORRECTED] += where is not None and where.corrected
                if not whole and where is not None:
                    (left_out if leave_out else noted)[_CUT] += 1
                    if leave_out:
                        continue
            chosen += [(place, *one) for one in zip(its, marks, strict=True)]
        parts = [_part(window, contexts[place]) for place, window, _ in chosen]
        texts = pa.list_(pa.string())
        return Examples(
            ids=[window.ids for _, window, _ in chosen],
            types=[window.types for _, window, _ in chosen]  # type: ignore[misc]
            if chosen and chosen[0][1].types is not None
            else None,
            targets=np.array([marks for *_, marks in chosen], np.int64).reshape(-1, 2),
            bad=bad,
            left_out=+left_out,
            noted=+noted,
            extras={
                "row": pa.array([rows[place] for place, *_ in chosen], pa.int64()),
                "prompt": pa.array([questions[place] for place, *_ in chosen], pa.string()),
                "reference": pa.array(
                    [_texts(answers, place) for place, *_ in chosen], texts
                ),
                "context": pa.array([text for text, _, _ in parts], pa.string()),
                "offset": pa.array([at for _, _, at in parts], pa.int64()),
                "first": pa.array([window.first for _, window, _ in chosen], pa.int32()),
                "spans": pa.array([spans for _, spans, _ in parts], pa.list_(pa.int32())),
            },
        )  # fmt: skip

    def _written(
        self,
        questions: list[str],
        contexts: list[str],
        answers: list[list[Answer]] | None,
        rows: Sequence[int],
        tokenizer: Any,
    ) -> Examples:
        """Inputs of an encoder-decoder with the first answer to write."""
        import pyarrow as pa

        asked = [
            f"question: {question} context: {context}"
            for question, context in zip(questions, contexts, strict=True)
        ]
        made = tokenize(tokenizer, asked, max_length=self.max_length)
        first = [answers[place][0].text if answers else "" for place in range(len(asked))]
        said = tokenize(tokenizer, first, max_length=None).ids
        if answers is None:
            said = [[UNLABELLED] * len(ids) for ids in said]
        return Examples(
            ids=made.ids,
            targets=np.concatenate([np.array(ids, np.int64) for ids in said]),
            target_lengths=np.array([len(ids) for ids in said], np.int64),
            truncated=made.truncated,
            extras={
                "row": pa.array(rows, pa.int64()),
                "prompt": pa.array(questions, pa.string()),
                "reference": pa.array(
                    [_texts(answers, place) for place in range(len(asked))], pa.list_(pa.string())
                ),
            },
        )

    def losses(self, logits: torch.Tensor, layout: Layout) -> torch.Tensor:
        """logits (tokens, 2) -> (S,): mean of the cross entropies of the answer's two ends, each
        over the tokens of its own example; padding, which transformers counts in, is not there."""
        if layout.form != "span":
            return super().losses(logits, layout)
        import torch

        wide = logits if logits.dtype == torch.float64 else logits.float()
        lengths = layout.lengths
        real_SL = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        padded_SL2 = wide.new_full((*real_SL.shape, 2), float("-inf"))
        padded_SL2[real_SL] = wide
        return torch.nn.functional.cross_entropy(
            padded_SL2, layout.targets, reduction="none", ignore_index=UNLABELLED
        ).mean(-1)

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        """One row per question: its text, and the mean loss of its windows."""
        assert features.extras is not None
        extras = features.extras
        rows, begins, owner = np.unique(
            extras.column("row").to_numpy(), return_index=True, return_inverse=True
        )
        asked = extras.select(["prompt", "reference"]).take(begins)
        weights = outputs.tokens if features.form == "sequence" else np.ones(len(owner), np.int64)
        counts = np.bincount(owner, weights)
        sums = np.bincount(owner, outputs.losses * weights)
        texts, beside = None, {}
        if outputs.generated is not None:
            written = tokenizer.batch_decode(list(outputs.generated), skip_special_tokens=True)
            texts = [written[at].strip() for at in begins]
        elif features.form == "span":
            found = self._best(outputs.kept, extras, owner, len(rows))
            texts = [text for text, _ in found]
            starts = [start for _, start in found]
            ends = [None if at is None else at + len(text) for text, at in found]
            beside = {"answer_start": starts, "answer_end": ends}
        return Predicted(
            losses=sums / np.maximum(counts, 1),
            tokens=counts.astype(np.int64),
            texts=texts,
            references=asked.column("reference").to_pylist(),
            prompts=asked.column("prompt").to_pylist(),
            rows=rows,
            beside=beside,
        )

    def _best(
        self, kept: Any, extras: Any, owner: np.ndarray, questions: int
    ) -> list[tuple[str, int | None]]:
        """The text of each question's best span over its windows, and the character of the
        context where it begins; no text and None where there is no span."""
        offsets = extras.column("offset").to_numpy()
        first = extras.column("first").to_numpy()
        contexts, spans = extras.column("context"), extras.column("spans")
        best: list[tuple[float, str, int | None]] = [(-np.inf, "", None)] * questions
        for window, question in enumerate(owner):
            spans_C2 = np.asarray(spans[window].values).reshape(-1, 2)
            inside = (int(first[window]), int(first[window]) + len(spans_C2))
            span = best_span(kept[window], inside, self.n_best_size, self.max_answer_length)
            if span is None or span.score <= best[question][0]:
                continue
            begin, end = spans_C2[span.first - inside[0], 0], spans_C2[span.last - inside[0], 1]
            text = contexts[window].as_py()[begin:end]
            start = int(offsets[window]) + int(begin) + len(text) - len(text.lstrip())
            best[question] = span.score, text.strip(), start
        return [(text, start) for _, text, start in best]


def _answers(batch: Mapping[str, list[Any]], count: int) -> list[list[Answer]] | None:
    """The answers of each row; None for rows without such columns."""
    columns = columns_of(list(batch))
    if not set(columns) <= set(batch):
        return None
    return [answers_of({name: batch[name][row] for name in columns}) for row in range(count)]


def _marks(windows: list[Window], where: Place | None) -> tuple[list[tuple[int, int]], bool]:
    """The answer's ends in each window, the blank token where it is not whole; and whether any
    window holds it whole."""
    found = [None if where is None else window.answer(where.start, where.end) for window in windows]
    marks = [
        (window.blank, window.blank) if one is None else one
        for window, one in zip(windows, found, strict=True)
    ]
    return marks, any(one is not None for one in found)


def _part(window: Window, context: str) -> tuple[str, np.ndarray, int]:
    """The characters of the context that a window sees, its spans counted from their first, and
    where in the context that one stands."""
    spans = window.spans
    if not len(spans):
        return "", spans.reshape(-1), 0
    begin, end = int(spans[:, 0].min()), int(spans[:, 1].max())
    return context[begin:end], (spans - begin).reshape(-1), begin


def _texts(answers: list[list[Answer]] | None, place: int) -> list[str]:
    return [] if answers is None else [answer.text for answer in answers[place]]
