"""How does it go on? A decoder learns whole texts, and writes the rest from their first lines.

    task: continuation
    prompt_lines: 3
    generation: {do_sample: true, top_p: 0.9, temperature: 1.2}
    data: {dataset: json, train: sonnets.jsonl}

Every token is learned from those before it, those of the prompt too: a language model of the texts.
On the test split the first lines are the prompt, and what is written from there on is compared with
the rest. Losses and perplexity are of whole texts.

Source: Stanford CS224N's default project (sonnets, three lines, chrF); ExpLoRA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from tuneoff.datasets import Rows
from tuneoff.tasks import NEW_ROWS, UNLABELLED, Examples, Outputs, Task, _texts
from tuneoff.training.generation import Generation

if TYPE_CHECKING:
    from tuneoff.backbones.names import BackboneKind, Head
    from tuneoff.metrics import Predicted
    from tuneoff.training.features import Features, Form

_LENGTH = 256


class Continuation(Task):
    """Column: text, with line breaks."""

    prompt_lines: int = Field(default=3, ge=1)
    """Lines that are given; a text without a line after them is left out, and counted. Empty lines
    do not count."""
    max_length: int = Field(default=_LENGTH, ge=4)
    """Tokens of a text, its end included; longer ones are cut, and counted."""
    generation: Generation = Generation(max_new_tokens=_LENGTH)
    """How texts are continued at the end, on the test split; as many tokens as max_length leaves
    beside the longest prompt where nothing else is said."""

    head: ClassVar[str | None] = "causal_lm"
    form: ClassVar[Form] = "token"
    metrics: ClassVar[tuple[str, ...]] = ("chrf", "bleu", "perplexity", "loss")
    answers_in_text: ClassVar[bool] = True
    hub_tag: ClassVar[str] = "text-generation"

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        return f"Continues a text from its first {self.prompt_lines} lines."

    def example(self, head: Head, kind: BackboneKind) -> str:
        return "".join(f"line {number}\n" for number in range(1, self.prompt_lines + 1))

    def generation_for(self, head: Head) -> Generation:
        return self.generation

    def ends(self, head: Head, tokenizer: Any) -> Sequence[int]:
        return [_texts.end_of(tokenizer, "causal_lm")]

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["text"]

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` alone: there are no classes."""
        return {"columns": self.text_columns(train.column_names)}

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_texts(cls, written: Any) -> Any:
        return _texts.with_length(written, _LENGTH, "max_length")

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        parts = [self.parted(str(text)) for text in batch["text"]]
        end = _texts.end_of(tokenizer, "causal_lm")
        asked = _texts.prompt_ids(tokenizer, [prompt for prompt, _ in parts], end)
        rests = _texts.bare_ids(tokenizer, [rest for _, rest in parts])
        ids, targets, lengths, references, cut = [], [], [], [], 0
        left_out = {"text without a line after the prompt": 0, "prompt as long as max_length": 0}
        new = facts.get("split") == NEW_ROWS  # of these the first lines alone are there
        for (_, rest), prompt, following in zip(parts, asked, rests, strict=True):
            if not prompt or not (new or rest.strip()):
                left_out["text without a line after the prompt"] += 1
                continue
            if len(prompt) + 1 >= self.max_length:
                left_out["prompt as long as max_length"] += 1
                continue
            whole = [*prompt, *following, end]
            cut += len(whole) > self.max_length
            whole = whole[: self.max_length]
            ids.append(whole)
            targets.append(np.array([*whole[1:], UNLABELLED], np.int64))
            lengths.append(len(prompt))
            references.append([rest])
        longest = max(lengths, default=1)
        needed = max(self.max_length, longest + self.generation.max_new_tokens - 1)
        _texts.check_positions(facts.get("room"), needed, longest)
        return Examples(
            ids=ids,
            targets=np.concatenate(targets) if targets else np.empty(0, np.int64),
            truncated=cut,
            left_out={reason: count for reason, count in left_out.items() if count},
            extras={"references": references, "prompt_length": lengths},
        )

    def parted(self, text: str) -> tuple[str, str]:
        """The first lines, with the break behind the last of them, and the rest."""
        seen = 0
        lines = text.strip("\n").splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            seen += bool(line.strip())
            if seen == self.prompt_lines:
                return "".join(lines[:number]), "".join(lines[number:])
        return text, ""

    def prompts(self, features: Features, tokenizer: Any) -> list[list[int]]:
        assert features.extras is not None, "texts are encoded with the length of their prompts"
        lengths = features.extras["prompt_length"].to_pylist()
        starts = features.offsets[:-1].tolist()
        return [
            features.tokens[start : start + length].tolist()
            for start, length in zip(starts, lengths, strict=True)
        ]

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        return _texts.answers(outputs, features, tokenizer, self.prompts(features, tokenizer))
