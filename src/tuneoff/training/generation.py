"""Generation: how a text is continued, and the continuing of many texts by a cohort's members.

    texts_KP = generate(passes, prompts, Generation(max_new_tokens=32, num_beams=4))

Names, defaults and meaning of the settings are those of transformers' `GenerationConfig` (5.23),
except that sampling cuts nothing unless told to (there `top_k` is 50).
Axes: K members carried, P prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_serializer, model_validator

from tuneoff.study_parts import faults
from tuneoff.study_settings import Group

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone
    from tuneoff.training.passes import Passes

BATCH_TOKENS = 8192
"""Tokens in the caches of a batch, all members and beams together: memory against speed."""


class Generation(Group):
    """How new tokens are chosen, and when a text ends."""

    max_new_tokens: int = Field(default=64, ge=1)
    """Tokens after which a text ends in any case."""
    min_new_tokens: int = Field(default=0, ge=0)
    """Tokens before which a text may not end."""
    num_beams: int = Field(default=1, ge=1)
    """Beams of the search; 1 takes the likeliest token each time (greedy)."""
    no_repeat_ngram_size: int = Field(default=0, ge=0)
    """No n tokens in a row stand twice in prompt and text (of an encoder-decoder: in the text);
    0 allows it."""
    length_penalty: float = 1.0
    """A beam's score is its log-probability over its length to this power: above 0 favours long."""
    early_stopping: bool | Literal["never"] = False
    """True ends a search with as many finished beams as it has; False when the best open beam is
    not likely to do better; "never" when it cannot."""
    do_sample: bool = False
    """Draw each token instead of taking the likeliest."""
    temperature: float = Field(default=1.0, gt=0)
    """What logits are divided by before a draw."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw from the k likeliest tokens alone; null: from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the likeliest tokens that together reach this probability alone."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws; every member and prompt has a stream of its own."""

    @model_serializer(mode="wrap")
    def _dumped(self, handler: Any) -> dict[str, Any]:
        """What has an effect alone, so that plain data makes the same settings again."""
        idle = self.unused()
        return {name: value for name, value in handler(self).items() if name not in idle}

    def unused(self) -> dict[str, str]:
        idle: dict[str, str] = {}
        if self.num_beams == 1:
            idle |= dict.fromkeys(("length_penalty", "early_stopping"), "num_beams is 1")
        if not self.do_sample:
            drawn = ("temperature", "top_k", "top_p", "seed")
            idle |= dict.fromkeys(drawn, "do_sample is false")
        return idle

    @model_validator(mode="after")
    def _possible(self) -> Self:
        found: dict[tuple[str | int, ...], str] = {}
        if self.min_new_tokens > self.max_new_tokens:
            found[("min_new_tokens",)] = (
                f"at most max_new_tokens ({self.max_new_tokens}), got {self.min_new_tokens}"
            )
        if self.do_sample and self.num_beams > 1:
            found[("do_sample",)] = (
                f"draws one text, got num_beams {self.num_beams}; set num_beams: 1, or leave "
                "do_sample out"
            )
        if found:
            raise faults(found)
        return self


def generate(
    passes: Passes,
    prompts: Sequence[Sequence[int]],
    settings: Generation,
    *,
    end: Sequence[int] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[list[list[int]]]:
    """K lists of P lists of new token ids, without the end-of-text token.

    The members that `passes` carries generate together. prompts: token ids, of an encoder-decoder
    what its encoder reads; end: tokens that end a text (None: the backbone's). Dropout is off.
    Raises DataError for prompts that are empty or too long, BackboneError for a backbone that
    writes no text.
    """
    passes.set_training(False)
    members, family = passes.members, passes.family
    backbone = passes.material.backbone

    def run(seeds: Sequence[int]) -> list[list[list[int]]]:
        return generate_attached(
            backbone,
            family,
            prompts,
            settings,
            seeds=seeds,
            precision=passes.precision,
            end=end,
            batch_tokens=batch_tokens,
        )

    if not passes.padded or len(members) == 1:
        return run([member.spec.seed for member in members])
    texts = []
    try:  # a model's own forward knows of one member's rows
        for member in members:
            passes.carry([member])
            texts += run([member.spec.seed])
    finally:
        passes.carry(members)
    return texts


def generate_attached(
    backbone: Backbone,
    family: Any,
    prompts: Sequence[Sequence[int]],
    settings: Generation,
    *,
    seeds: Sequence[int] = (0,),
    precision: Callable[[], AbstractContextManager[Any]] | None = None,
    end: Sequence[int] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[list[list[int]]]:
    """As `generate`, for hooks that hang on the backbone already (one per entry of `seeds`).

    family: the padding-free forward, or `Padded` (one member alone); precision: makes the context
    of each batch (autocast), or None.
    """
    from contextlib import nullcontext

    from tuneoff.backbones.padded import Wrapped
    from tuneoff.training import prompts as prompt_checks
    from tuneoff.training.search import search
    from tuneoff.training.steps import steps_of

    ends = tuple(end) if end is not None else prompt_checks.end_of_text(backbone)
    prompt_checks.check(backbone, prompts, settings)
    room = settings.max_new_tokens
    tokens = batch_tokens // (settings.num_beams * len(seeds))
    context: Any = precision or nullcontext
    if isinstance(family, Wrapped):
        from tuneoff.training.whole_generation import whole_texts

        with context():
            return [whole_texts(family, prompts, settings, ends, seeds[0], tokens)]
    texts: list[list[list[int]]] = [[[] for _ in prompts] for _ in seeds]
    for batch in prompt_checks.batches([len(p) for p in prompts], room, tokens):
        with context(), steps_of(backbone, family, len(seeds)) as steps:
            found = search(steps, [prompts[i] for i in batch], batch, settings, ends, seeds)
        for row, text in enumerate(found):
            member, place = divmod(row, len(batch))
            texts[member][batch[place]] = text
    return texts
