"""Prompts: which of them a backbone can continue, in what batches, and what ends a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.kinds import positions_of
from tuneoff.errors import BackboneError, DataError

if TYPE_CHECKING:
    from tuneoff.training.generation import Generation


def batches(lengths: Sequence[int], room: int, tokens: int) -> Iterator[list[int]]:
    """Prompts longest first, in batches of about so many tokens, new ones included."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        count = max(1, tokens // (lengths[order[start]] + room))
        yield order[start : start + count]
        start += count


def check(backbone: Backbone, prompts: Sequence[Sequence[int]], settings: Generation) -> None:
    """Raises DataError for prompts that are empty, too long or of another vocabulary, and
    BackboneError where the backbone writes no text."""
    name = backbone.options.model
    if backbone.model.get_output_embeddings() is None:
        raise BackboneError(
            f"generation: backbone {name!r} has a {backbone.head.replace('_', ' ')} head, which "
            "writes no text; load it with a language-model head (causal_lm, seq2seq_lm)"
        )
    empty = [i for i, prompt in enumerate(prompts) if len(prompt) == 0]
    if empty:
        raise DataError(
            f"generation: {_some(empty, prompts)} no token; give a text, or leave the row out"
        )
    size = int(backbone.model.get_input_embeddings().weight.shape[0])
    foreign = [i for i, prompt in enumerate(prompts) if min(prompt) < 0 or max(prompt) >= size]
    if foreign:
        ids = prompts[foreign[0]]
        raise DataError(
            f"generation: {_some(foreign, prompts)} token ids outside of the {size} that "
            f"{name!r} knows ({min(ids)} to {max(ids)}); use the tokenizer of this backbone"
        )
    _fits(backbone, prompts, settings)


def _fits(backbone: Backbone, prompts: Sequence[Sequence[int]], settings: Generation) -> None:
    reads, writes = positions(backbone)
    new = settings.max_new_tokens
    ahead = new - 1 if backbone.kind == "decoder" else 0  # the last new token is not read again
    name = backbone.options.model
    if backbone.kind != "decoder" and writes is not None and new > writes:
        raise DataError(
            f"generation: max_new_tokens is {new}, the decoder of {name!r} has {writes} "
            "positions; lower it"
        )
    if reads is None:
        return
    long = [i for i, prompt in enumerate(prompts) if len(prompt) + ahead > reads]
    if long:
        longest = max(long, key=lambda i: len(prompts[i]))
        raise DataError(
            f"generation: {_some(long, prompts)} too many tokens for the {reads} positions of "
            f"{name!r}: at most {max(reads - ahead, 0)} with max_new_tokens {new}, prompt "
            f"{longest} has {len(prompts[longest])}; cut the prompts (the task's lengths) or lower "
            "max_new_tokens"
        )


def positions(backbone: Backbone) -> tuple[int | None, int | None]:
    """Tokens that a decoder, or an encoder, can read, and that a decoder can write; None where
    positions are relative."""
    config = backbone.config
    if getattr(config, "encoder", None) is not None and getattr(config, "decoder", None):
        return positions_of(config.encoder), positions_of(config.decoder)
    both = positions_of(config)
    return both, both


def _some(found: Sequence[int], prompts: Sequence[Any]) -> str:
    """`prompt 3 of 10 has`, `prompts 3, 4 and 2 more of 10 have`."""
    names = ", ".join(map(str, found[:3]))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    noun, verb = ("prompts", "have") if len(found) > 1 else ("prompt", "has")
    return f"{noun} {names}{more} of {len(prompts)} {verb}"


def end_of_text(backbone: Backbone) -> tuple[int, ...]:
    """The tokens that end a text: of the generation configuration, the configuration, or the
    tokenizer; none where no one names any."""
    generation = getattr(backbone.model, "generation_config", None)
    for source in (generation, backbone.config, backbone.tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


def start_of_text(backbone: Backbone) -> int:
    """The token that a decoder of an encoder-decoder begins with.

    Raises BackboneError when neither the configurations nor the tokenizer name one.
    """
    config, tokenizer = backbone.config, backbone.tokenizer
    named = (
        getattr(config, "decoder_start_token_id", None),
        getattr(getattr(backbone.model, "generation_config", None), "decoder_start_token_id", None),
        getattr(tokenizer, "cls_token_id", None),
        getattr(config, "bos_token_id", None),
    )
    start = next((token for token in named if token is not None), None)
    if start is None:
        raise BackboneError(
            f"generation: nothing names the token that {backbone.options.model!r} begins a text "
            "with; set decoder_start_token_id in its config.json"
        )
    return int(start)
