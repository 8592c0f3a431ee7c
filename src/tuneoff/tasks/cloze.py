"""Which word completes the prompt? Classification by a language model's own words.

    task: cloze
    data: {dataset: csv, train: pairs.csv, columns: {text: question1, text_pair: question2,
           label: is_duplicate}}

The model reads

    Question 1: "How do I learn to swim?"
    Question 2: "What is the best way to learn swimming?"
    Are these questions asking the same thing?

and says `yes` or `no`. It is trained by the cross entropy of the right word over its whole
vocabulary, and judged by which of the words it finds likelier: accuracy and F1 as for any
classifier, without a new head. A decoder continues the prompt; an encoder-decoder reads it and says
the word first.

The default prompt is that of paraphrase detection in Stanford's CS224N default project (GPT-2).
Any label of any text is a cloze with another `template` and other `verbalizers`:

    task: cloze
    template: "Review: {text}\\nIs this review friendly?\\n"
    verbalizers: {negative: no, positive: yes}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from tuneoff.data.classes import class_name, classes_of
from tuneoff.data.prompts import Template
from tuneoff.data.tokenizing import check_length
from tuneoff.datasets import Rows
from tuneoff.errors import BackboneError, DataError, Problem
from tuneoff.metrics import Predicted
from tuneoff.tasks import UNLABELLED, Examples, Outputs, Task
from tuneoff.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.names import BackboneKind, Head
    from tuneoff.training.features import Features, Form
    from tuneoff.training.layout import Layout

PARAPHRASE = (
    'Question 1: "{text}"\nQuestion 2: "{text_pair}"\nAre these questions asking the same thing?\n'
)


class Cloze(Task):
    """Columns: label, and those that the template names in braces."""

    template: str = PARAPHRASE
    """The prompt, with columns in braces; `{{` and `}}` are braces themselves."""
    verbalizers: dict[str, str] = Field(default={"0": "no", "1": "yes"}, min_length=2)
    """Class -> the word for it, exactly as it follows the prompt; each a single token."""
    max_length: int = Field(default=256, ge=2)
    """Tokens per prompt; where it has more, the longest columns are cut, and that is counted. The
    rest of the template always stays."""

    metrics: ClassVar[tuple[str, ...]] = TextClassification.metrics
    label: ClassVar[str | None] = "label"

    @field_validator("verbalizers", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Classes as they are called in data: `0` and `"0"` are one."""
        if not isinstance(value, Mapping):
            return value
        return {class_name(key) or "": word for key, word in value.items()}

    @field_validator("verbalizers")
    @classmethod
    def _different(cls, value: dict[str, str]) -> dict[str, str]:
        words = list(value.values())
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"{twice[0]!r} stands for two classes; give each a word of its own")
        return value

    @field_validator("template")
    @classmethod
    def _has_columns(cls, value: str) -> str:
        Template.parsed(value)
        return value

    def head_for(self, kind: BackboneKind) -> Head:
        if kind == "encoder":
            raise BackboneError(self.problems(kind)[0].message)
        return "causal_lm" if kind == "decoder" else "seq2seq_lm"

    def form_for(self, head: Head) -> Form:
        return "token" if head == "causal_lm" else "sequence"

    def problems(self, kind: BackboneKind) -> list[Problem]:
        if kind != "encoder":
            return []
        return [
            Problem(
                "task",
                "a cloze is answered in words, and an encoder says none; take a decoder (GPT-2, "
                "Llama) or an encoder-decoder (T5), or the task text_classification",
            )
        ]

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return list(Template.parsed(self.template).columns)

    def example(self, head: Head, kind: BackboneKind) -> str:
        template = Template.parsed(self.template)
        return template.filled(dict.fromkeys(template.columns, "some text"))

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns`, and `classes` in the order of the data.

        Raises DataError where classes and verbalizers are not the same.
        """
        classes = classes_of(train)
        mute = [name for name in classes if name not in self.verbalizers]
        idle = [name for name in self.verbalizers if name not in classes]
        if mute or idle:
            wrong = f"no word for {', '.join(mute)}" if mute else f"words for {', '.join(idle)} too"
            raise DataError(
                f"{train.where(0)}: the classes of train are {', '.join(classes)}, and "
                f"`verbalizers` has {wrong}; give one word for each class: verbalizers: "
                f"{{{', '.join(f'{name}: ...' for name in classes)}}}"
            )
        return {"columns": self.text_columns(train.column_names), "classes": classes}

    def word_ids(self, tokenizer: Any) -> dict[str, int]:
        """Class -> the token of its word, in the order of `verbalizers`.

        Raises DataError for words that are not single, known, different tokens.
        """
        made = tokenizer(list(self.verbalizers.values()), add_special_tokens=False)["input_ids"]
        found: dict[str, int] = {}
        for (name, word), ids in zip(self.verbalizers.items(), made, strict=True):
            where = f"verbalizers.{name}: {word!r}"
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
                pieces = " ".join(map(repr, tokenizer.convert_ids_to_tokens(ids)))
                raise DataError(
                    f"{where} must be one token of the backbone's tokenizer, and is "
                    f"{pieces or 'none'}; take a shorter or more frequent word (for GPT-2, a word "
                    "with a space in front is another token than without)"
                )
            if ids[0] in found.values():
                other = next(key for key, token in found.items() if token == ids[0])
                raise DataError(
                    f"{where} is the same token as {self.verbalizers[other]!r} of {other}; give "
                    "each class a token of its own"
                )
            found[name] = ids[0]
        return found

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        check_length(tokenizer, self.max_length)
        words = self.word_ids(tokenizer)
        rows = [
            dict(zip(facts["columns"], map(str, texts), strict=True))
            for texts in zip(*(batch[name] for name in facts["columns"]), strict=True)
        ]
        speaks = facts["head"] == "causal_lm"
        template = Template.parsed(self.template)
        prompts = template.prompts(rows, tokenizer, self.max_length, ends_text=not speaks)
        labels, tokens = self._labels(batch, facts, len(rows), words)
        if not speaks:
            targets, lengths = tokens, np.ones(len(rows), np.int64)
        else:
            targets = np.full(sum(map(len, prompts.ids)), UNLABELLED, np.int64)
            targets[np.cumsum([len(ids) for ids in prompts.ids]) - 1] = tokens
            lengths = None
        return Examples(
            prompts.ids,
            targets,
            truncated=prompts.truncated,
            target_lengths=lengths,
            extras={"class": labels.tolist()},
        )

    def _labels(
        self,
        batch: Mapping[str, list[Any]],
        facts: Mapping[str, Any],
        count: int,
        words: Mapping[str, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) class indices, and (n,) the tokens to say. Rows without a label ask for the first
        word, so that the model is asked at all; their class is `UNLABELLED`."""
        classes: list[str] = facts["classes"]
        if "label" not in batch:
            first = next(iter(words.values()))
            return np.full(count, UNLABELLED, np.int64), np.full(count, first, np.int64)
        names = list(map(class_name, batch["label"]))
        if unknown := [name for name in names if name not in classes]:
            raise DataError(
                f"the label {unknown[0]!r} is none of the classes of train: {', '.join(classes)}"
            )
        labels = np.array([classes.index(name) for name in names if name is not None], np.int64)
        return labels, np.array([words[classes[label]] for label in labels], np.int64)

    def keep(self, logits: torch.Tensor, layout: Layout, tokenizer: Any) -> torch.Tensor:
        """(R, C) logits of the words alone, in the order of `verbalizers`."""
        return logits[:, list(self.word_ids(tokenizer).values())]

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        """Classes by the likelier word; probabilities are the words' among each other."""
        assert features.extras is not None, "a cloze's features know the class of each row"
        order = [list(self.verbalizers).index(name) for name in classes]
        logits = np.asarray(outputs.kept, np.float64)[:, order]
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return Predicted(
            losses=outputs.losses,
            tokens=outputs.tokens,
            labels=features.extras["class"].to_numpy().astype(np.int64),
            predictions=self.predictions(logits),
            classes=classes,
            probabilities=(powers / powers.sum(-1, keepdims=True)).astype(np.float32),
        )
