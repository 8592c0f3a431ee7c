"""Do what you are told: instruction tuning in Alpaca's form, with a loss on the response alone.

    task: instruction
    template: alpaca
    max_response_characters: 511
    data: {dataset: json, train: alpaca.json}

The templates stand below word for word. `alpaca` is Stanford's, in which the first sentence says
whether there is an input, and the response follows the colon at once; `alpaca_short` is the
survey's and Raschka's, with one first sentence for both, and the response on a line of its own.

Source: Taori et al. 2023, tatsu-lab/stanford_alpaca `train.py` (PROMPT_DICT, 512 tokens in all,
the loss on the response and its end); Raschka, LLMs-from-scratch, chapter 7 (`format_input`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tuneoff.backbones.names import BackboneKind, Head
from tuneoff.datasets import Rows
from tuneoff.tasks import NEW_ROWS, Examples, Outputs, Task, _texts
from tuneoff.training.generation import Generation

if TYPE_CHECKING:
    from tuneoff.metrics import Predicted
    from tuneoff.training.features import Features, Form

_TASK = "Below is an instruction that describes a task"
_APPROPRIATELY = "Write a response that appropriately completes the request."
TEMPLATES = {
    "alpaca": {
        "with_input": f"{_TASK}, paired with an input that provides further context. "
        f"{_APPROPRIATELY}\n\n### Instruction:\n{{instruction}}\n\n### Input:\n{{input}}"
        "\n\n### Response:",
        "without_input": f"{_TASK}. {_APPROPRIATELY}\n\n### Instruction:\n{{instruction}}"
        "\n\n### Response:",
    },
    "alpaca_short": {
        "with_input": f"{_TASK}. {_APPROPRIATELY}\n\n### Instruction:\n{{instruction}}"
        "\n\n### Input:\n{input}\n\n### Response:\n",
        "without_input": f"{_TASK}. {_APPROPRIATELY}\n\n### Instruction:\n{{instruction}}"
        "\n\n### Response:\n",
    },
}


class Instruction(Task):
    """Columns: instruction, output, and input where there is one."""

    template: Literal["alpaca", "alpaca_short"] = "alpaca"
    """What stands around instruction and input."""
    max_input_length: int = Field(default=384, ge=2)
    """Tokens of the prompt, template included; rows with a longer one are left out and counted, for
    a cut prompt asks for something else."""
    max_output_length: int = Field(default=128, ge=2)
    """Tokens of a response, its end included; a longer one is treated as `on_long` says."""
    on_long: _texts.Long = "cut"
    """What becomes of rows whose response is longer: `cut`, `leave_out` or `refuse`; the first two
    are counted."""
    max_response_characters: int | None = Field(default=None, ge=1)
    """Rows with a longer response are left out before anything else, and counted; null keeps
    all."""
    generation: Generation = Generation(max_new_tokens=128)
    """How responses are written at the end, on the test split; as many tokens as max_output_length
    where nothing else is said."""

    metrics: ClassVar[tuple[str, ...]] = ("perplexity", "loss", "rougeL")
    answer: ClassVar[str | None] = "output"
    may_be_empty: ClassVar[frozenset[str]] = frozenset(["input"])
    answers_in_text: ClassVar[bool] = True
    hub_tag: ClassVar[str] = "text-generation"

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_answers(cls, written: Any) -> Any:
        return _texts.with_length(written, 128)

    def head_for(self, kind: BackboneKind) -> Head:
        return _texts.head_for(kind)

    def form_for(self, head: Head) -> Form:
        return _texts.form_for(head)

    def generation_for(self, head: Head) -> Generation:
        return self.generation

    def about(self, texts: Sequence[str], classes: Sequence[str]) -> str:
        return "Answers an instruction in text."

    def example(self, head: Head, kind: BackboneKind) -> str:
        return self.prompt("Name a colour.", None)

    def ends(self, head: Head, tokenizer: Any) -> Sequence[int]:
        return [_texts.end_of(tokenizer, head)]

    def text_columns(self, column_names: Sequence[str]) -> list[str]:
        return ["instruction", *(["input"] if "input" in column_names else [])]

    def unwanted(self, row: Mapping[str, Any]) -> str | None:
        most = self.max_response_characters
        if most is None or len(str(row["output"])) <= most:
            return None
        return f"output of more than {most} characters"

    def describe(self, train: Rows) -> dict[str, Any]:
        """`columns` alone: there are no classes."""
        return {"columns": self.text_columns(train.column_names)}

    def prompt(self, instruction: Any, given: Any) -> str:
        """The template with an instruction and, where it is not empty, an input."""
        words = "" if given is None or given != given else str(given)  # NaN is not itself
        forms = TEMPLATES[self.template]
        form = forms["with_input" if words.strip() else "without_input"]
        head, *rest = form.split("{instruction}")
        return head + str(instruction) + rest[0].replace("{input}", words, 1)

    def encode(
        self, batch: Mapping[str, list[Any]], facts: Mapping[str, Any], tokenizer: Any
    ) -> Examples:
        head = facts["head"]
        asked = batch["instruction"]
        inputs = batch.get("input", [None] * len(asked))
        prompts = [self.prompt(*both) for both in zip(asked, inputs, strict=True)]
        responses = [str(text) for text in batch["output"]] if "output" in batch else None
        made = _texts.pairs(
            tokenizer,
            head,
            prompts,
            responses,
            max_input_length=self.max_input_length,
            max_output_length=self.max_output_length,
            max_new_tokens=self.generation.max_new_tokens,
            room=facts.get("room"),
        )
        extras: dict[str, Sequence[Any]] = {"prompt": prompts}
        if responses is not None:
            extras["references"] = [[text] for text in responses]
        return _texts.examples(
            made,
            head,
            what=("prompt", "response"),
            extras=extras,
            on_long=self.on_long,
            whole_prompts=responses is not None or facts.get("split") == NEW_ROWS,
        )

    def answers(
        self, outputs: Outputs, features: Features, classes: Sequence[str], tokenizer: Any
    ) -> Predicted:
        return _texts.answers(outputs, features, tokenizer, self.prompts(features, tokenizer))
