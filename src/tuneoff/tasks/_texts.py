"""What tasks share that answer in text: prompts and answers as examples, and answers as texts.

A decoder reads prompt and answer in one sequence, with a loss on the answer alone; an
encoder-decoder reads the prompt and says the answer. Both say the token that ends a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tuneoff.backbones.names import BackboneKind, Head
from tuneoff.data.tokenizing import tokenize
from tuneoff.errors import DataError
from tuneoff.metrics import Predicted
from tuneoff.tasks import UNLABELLED, Examples, Outputs

if TYPE_CHECKING:
    from tuneoff.training.features import Features, Form

Long = Literal["cut", "leave_out", "refuse"]
"""What becomes of an answer that is longer than its limit."""

_SPEAKS: dict[BackboneKind, Head] = {
    "encoder": "seq2seq_lm",
    "decoder": "causal_lm",
    "encoder_decoder": "seq2seq_lm",
}


def head_for(kind: BackboneKind) -> Head:
    """A decoder continues, an encoder-decoder answers; an encoder becomes one (bert2bert)."""
    return _SPEAKS[kind]


def form_for(head: Head) -> Form:
    """Labelled tokens of one sequence, or of a sequence of its own."""
    return "token" if head == "causal_lm" else "sequence"


def with_length(written: Any, default: int, field: str = "max_output_length") -> Any:
    """A task's settings as written, with `generation.max_new_tokens` at that field (or its default)
    where it is not given."""
    if not isinstance(written, Mapping):
        return written
    length = written.get(field, default)
    generation = written.get("generation", {})
    if isinstance(generation, Mapping) and "max_new_tokens" not in generation:
        return {**written, "generation": {**generation, "max_new_tokens": length}}
    return written


@dataclass(frozen=True)
class Pair:
    """A prompt and its answer in token ids, cut to their limits. answer: None for a new row."""

    prompt: list[int]
    answer: list[int] | None
    prompt_cut: bool = False
    answer_cut: bool = False


def end_of(tokenizer: Any, head: Head) -> int:
    """The token that ends an answer.

    Raises DataError where the tokenizer has none: a model could then never learn to stop.
    """
    end: int | None = tokenizer.eos_token_id
    if end is None and head == "seq2seq_lm":
        end = tokenizer.sep_token_id
    if end is None:
        raise DataError(
            f"the tokenizer of the backbone ({type(tokenizer).__name__}) has no token that ends a "
            "text, so the model could not learn where to stop; name one as `eos_token` in its "
            "tokenizer_config.json"
        )
    return int(end)


def check_room(own: int | None, head: Head, prompt: int, answer: int, new: int) -> None:
    """Raises DataError where the model has too few positions (`own`) for prompt and answer. answer:
    tokens that are learned; new: those that are written at most."""
    if own is None:
        return
    lengths = {"max_output_length": answer, "generation.max_new_tokens": new}
    if head == "causal_lm":
        for name, length in lengths.items():
            if prompt + length - 1 > own:  # the last token is not read again
                raise DataError(
                    f"a decoder reads prompt and answer in one text: max_input_length {prompt} and "
                    f"{name} {length} are more than the {own} tokens that the backbone takes; set "
                    f"max_input_length to {max(1, own - length + 1)} or less, or lower {name}"
                )
    for name, length in {"max_input_length": prompt, **lengths}.items():
        if length > own:
            raise DataError(
                f"{name} {length} is more than the {own} tokens that the backbone takes; set it "
                f"to {own} or less"
            )


def check_positions(own: int | None, needed: int, prompt: int) -> None:
    """Raises DataError where a prompt and what is written behind it have too few positions."""
    if own is not None and needed > own:
        raise DataError(
            f"the longest prompt has {prompt} tokens, and with generation.max_new_tokens that is "
            f"{needed}, more than the {own} tokens that the backbone takes; set "
            f"generation.max_new_tokens to {max(1, own - prompt + 1)} or less"
        )


def pairs(
    tokenizer: Any,
    head: Head,
    prompts: Sequence[str],
    answers: Sequence[str] | None,
    *,
    max_input_length: int,
    max_output_length: int,
    max_new_tokens: int,
    room: int | None = None,
    behind: Sequence[int] = (),
) -> list[Pair]:
    """Prompts and answers as token ids. room: positions of the backbone; behind: tokens that stand
    after a prompt, however it is cut; they count in max_input_length, as the end token does in
    max_output_length."""
    end = end_of(tokenizer, head)
    check_room(room, head, max_input_length, max_output_length, max_new_tokens)
    asked = _prompt_ids(tokenizer, head, prompts, max_input_length, list(behind), end)
    if answers is None:
        return [Pair(ids, None, cut) for ids, cut in asked]
    said = bare_ids(tokenizer, answers)
    found = []
    for (ids, cut), words in zip(asked, said, strict=True):
        answer = [*words[: max_output_length - 1], end]
        found.append(Pair(ids, answer, cut, len(words) > max_output_length - 1))
    return found


def _prompt_ids(
    tokenizer: Any, head: Head, prompts: Sequence[str], limit: int, behind: list[int], end: int
) -> list[tuple[list[int], bool]]:
    """Token ids of each prompt, and whether it was cut. What an encoder reads has the special
    tokens of its tokenizer; a decoder's prompt has those in front of a text."""
    found = []
    if head == "seq2seq_lm":
        for ids in tokenize(tokenizer, prompts, max_length=None).ids:
            last = ids[-1:] if ids and ids[-1] in tokenizer.all_special_ids else []
            cut = len(ids) > limit
            found.append(([*ids[: limit - len(last)], *last] if cut else ids, cut))
        return found
    room = limit - len(behind)
    asked = prompt_ids(tokenizer, prompts, end)
    return [([*ids[:room], *behind], len(ids) > room) for ids in asked]


def prompt_ids(tokenizer: Any, prompts: Sequence[str], end: int) -> list[list[int]]:
    """What a decoder reads before it goes on: the special tokens in front, none at the end."""
    made = tokenize(tokenizer, prompts, max_length=None).ids
    return [ids[:-1] if ids and ids[-1] == end else ids for ids in made]


def bare_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens."""
    return tokenize(tokenizer, texts, max_length=None, special=False).ids


def examples(
    made: Sequence[Pair],
    head: Head,
    *,
    what: tuple[str, str],
    extras: Mapping[str, Sequence[Any]],
    on_long: Long = "cut",
    whole_prompts: bool = False,
) -> Examples:
    """Pairs as examples, those that are left out counted. what: the names of prompt and answer;
    whole_prompts: leave out rows whose prompt was cut.

    Raises DataError for an answer that is too long where `on_long` is `refuse`.
    """
    asked, said = what
    long = [place for place, pair in enumerate(made) if pair.answer_cut]
    if long and on_long == "refuse":
        raise DataError(
            f"{len(long)} of {len(made)} rows have a {said} longer than max_output_length; raise "
            "it, or say what becomes of them: `on_long: cut` or `on_long: leave_out`"
        )
    why: dict[int, str] = {}
    for place, pair in enumerate(made):
        if not pair.prompt:
            why[place] = f"{asked} without a token"
        elif whole_prompts and pair.prompt_cut:
            why[place] = f"{asked} longer than max_input_length"
        elif on_long == "leave_out" and pair.answer_cut:
            why[place] = f"{said} longer than max_output_length"
    kept = [place for place in range(len(made)) if place not in why]
    some = [made[place] for place in kept]
    ids, targets, lengths = [], [], []
    for pair in some:
        answer = pair.answer or []
        if head == "causal_lm":
            ids.append([*pair.prompt, *answer[:-1]])
            silent = np.full(len(ids[-1]), UNLABELLED, np.int64)
            if answer:
                silent[len(pair.prompt) - 1 :] = answer
            targets.append(silent)
        else:
            ids.append(pair.prompt)
            targets.append(np.array(answer or [UNLABELLED], np.int64))
            lengths.append(max(1, len(answer)))
    cut = {
        asked: sum(pair.prompt_cut for pair in some),
        said: sum(pair.answer_cut for pair in some),
    }
    return Examples(
        ids=ids,
        targets=np.concatenate(targets) if targets else np.empty(0, np.int64),
        target_lengths=np.array(lengths, np.int64) if head != "causal_lm" else None,
        truncated=sum(pair.prompt_cut or pair.answer_cut for pair in some),
        cut={name: count for name, count in cut.items() if count},
        left_out=Counter(why.values()),
        extras={name: [column[place] for place in kept] for name, column in extras.items()},
    )


def answers(
    outputs: Outputs, features: Features, tokenizer: Any, asked: Sequence[Sequence[int]]
) -> Predicted:
    """Losses, and the texts that were generated beside their references. asked: token ids of each
    prompt."""
    if outputs.generated is None:
        return Predicted(losses=outputs.losses, tokens=outputs.tokens)
    table = features.extras
    names = () if table is None else table.column_names  # new rows may have neither
    prompts = table["prompt"].to_pylist() if table is not None and "prompt" in names else None
    return Predicted(
        losses=outputs.losses,
        tokens=outputs.tokens,
        texts=texts_of(outputs.generated, tokenizer),
        references=None
        if table is None or "references" not in names
        else table["references"].to_pylist(),
        prompts=prompts or texts_of(asked, tokenizer),
    )


def texts_of(ids: Sequence[Sequence[int]], tokenizer: Any) -> list[str]:
    """Token ids as texts, without special tokens and spaces at the ends."""
    made = tokenizer.batch_decode([list(map(int, one)) for one in ids], skip_special_tokens=True)
    return [str(text).strip() for text in made]
