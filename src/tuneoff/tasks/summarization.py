"""What does a text say, in short? Judged by ROUGE against the summaries that people wrote.

    task: summarization
    max_input_length: 512
    max_output_length: 128
    generation: {num_beams: 4, min_new_tokens: 10, no_repeat_ngram_size: 3}
    data: {dataset: json, train: news.jsonl, columns: {text: article, summary: highlights}}

Encoder-decoders read the article and say the summary. An encoder (BERT) becomes one: its weights
stand twice, with new cross-attention between (`tuneoff.backbones.encoder_decoder`). Decoders read
article, separator and summary in one text, with a loss on the summary alone; the separator
(`<sum>`) becomes a token of its own, as `tuneoff.backbones.new_tokens` says. In each case the
article is cut so that the summary fits, and what was cut is counted.

Source: T5's prefix, Raffel et al. 2020 (arXiv 1910.10683), appendix D; 512 and 128 tokens: that
paper and transformers' run_summarization.py (`max_target_length`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from tuneoff.backbones.names import BackboneKind, Head
from tuneoff.datasets import Rows
from tuneoff.tasks import Examples, Outputs, Task, _texts
from tuneoff.training.generation import Generation

if TYPE_CHECKING:
    from tuneoff.metrics import Predicted
    from tuneoff.training.features import Features, Form

T5_PREFIX = "summarize: "


class Summarization(Task):
    """Columns: text, summary."""

    max_input_length: int = Field(default=512, ge=2)
    """Tokens of an article with what stands around it (prefix, separator, special tokens)."""
    max_output_length: int = Field(default=128, ge=2)
    """Tokens of a summary, its end included; a longer one is treated as `on_long` says. Texts are
    judged against the whole summary."""
    on_long: _texts.Long = "cut"
    """What becomes of rows whose summary is longer: `cut`, `leave_out` or `refuse`; the first two
    are counted."""
    prefix: str | None = None
    """Text in front of each article; null: T5's for encoder-decoders, nothing for others."""
    separator: str = Field(default="<sum>", min_length=1)
    """The token between article and summary, for decoders."""
    generation: Generation = Generation(max_new_tokens=128)
    """How summaries are written at the end, on the test split; as many tokens as
    max_output_length where nothing else is said."""

    metrics: ClassVar[tuple[str, ...]] = ("rougeL", "rouge1", "rouge2", "rougeLsum", "loss")
    answer: ClassVar[str | None] = "summary"
    answers_in_text: ClassVar[bool] = True
    hub_tag: ClassVar[str] = "summarization"

    def head_for(self, kind: BackboneKind) -> Head:
        return _texts.head_for(kind)

    def form_for(self, head: Head) -> Form:
        return _texts.form_for(head)

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_answers(cls, written: Any) -> Any:
        return _texts.with_length(written, 128)

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        return "Writes a summary of a text."

    def example(self, head: Head, kind: BackboneKind) -> str:
        behind = self.separator if head == "causal_lm" else ""
        return f"{self.prefix_for(kind)}Mary came home late, and went to bed.{behind}"

    def prefix_for(self, kind: BackboneKind) -> str:
        """The text in front of each article."""
        if self.prefix is not None:
            return self.prefix
        return T5_PREFIX if kind == "encoder_decoder" else ""

    def generation_for(self, head: Head) -> Generation:
        return self.generation

    def new_tokens(self, head: Head) -> tuple[str, ...]:
        return (self.separator,) if head == "causal_lm" else ()

    def ends(self, head: Head, tokenizer: Any) -> Sequence[int]:
        return [_texts.end_of(tokenizer, head)]

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["text"]

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` alone: there are no classes."""
        return {"columns": self.text_columns(train.column_names)}

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        head = facts["head"]
        prefix = self.prefix_for(facts["kind"])
        summaries = [str(text) for text in batch["summary"]] if "summary" in batch else None
        between = []
        if head == "causal_lm":
            between = [tokenizer.convert_tokens_to_ids(self.separator)]
        made = _texts.pairs(
            tokenizer,
            head,
            [prefix + str(text) for text in batch["text"]],
            summaries,
            max_input_length=self.max_input_length,
            max_output_length=self.max_output_length,
            max_new_tokens=self.generation.max_new_tokens,
            room=facts.get("room"),
            behind=between,
        )
        extras = {} if summaries is None else {"references": [[text] for text in summaries]}
        return _texts.examples(
            made, head, what=("article", "summary"), extras=extras, on_long=self.on_long
        )

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        return _texts.answers(outputs, features, tokenizer, self.prompts(features, tokenizer))
