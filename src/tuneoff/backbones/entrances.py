"""Where a Hugging Face model's own forward may begin, with states that were kept of an earlier one.

A forward that is read stops at the entrance (`reading`); one that is entered (`entering`) passes
what lies before by, and goes on from the states that it is given. What lies outside of the blocks,
and is cheap, still runs: embeddings, masks, positions.
Axes: B sequences, L the longest of them, D features, P what a pooler gives, S kept states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tuneoff.backbones import roles
from tuneoff.backbones.backbone import Backbone


class NoEntranceError(Exception):
    """The model cannot be entered here; says why, as the end of a sentence."""


class Reached(Exception):  # noqa: N818 - no error: how a forward is left where it is read
    """A forward has come to the entrance that is read, and goes no further."""

    def __init__(self, states: Tensor):
        super().__init__()
        self.states = states


class Entrance(Protocol):
    """place: as `Family` counts entries; per_token: whether a state is kept for each token (S
    tokens), or one for each sequence (S = B). mask: (B, L), ones for real tokens."""

    place: int
    per_token: bool

    def watching(self, mask: Tensor) -> Any:
        """Within, one forward shows what is here to be kept. Raises NoEntranceError."""

    def reading(self, mask: Tensor) -> Any:
        """Within, a forward ends with `Reached`, which carries (S, D) states."""

    def entering(self, states: Tensor, mask: Tensor) -> Any:
        """Within, a forward begins here with (S, D) states."""


class BlockEntrance:
    """The states that enter a block: blocks below give back what they are given.

    Only for blocks that run one after the other, each once. What else a block gives is left out:
    attention weights, which nobody reads, but relative positions too (of T5's first block), and
    then the logits tell.
    """

    per_token = True

    def __init__(self, blocks: Sequence[nn.Module], place: int):
        self.below, self.block, self.place = list(blocks[:place]), blocks[place], place
        self._forms: list[int] = []
        """Per block below: 0 where it gives a tensor, else the length of its tuple."""

    @contextmanager
    def watching(self, mask: Tensor) -> Iterator[None]:
        seen: list[int] = []
        self._forms = [0] * self.place

        def left(index: int) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                seen.append(index)
                self._forms[index] = _form(output)

            return hook

        def entered(_module: nn.Module, args: Any, kwargs: Any) -> None:
            seen.append(self.place)
            _check(_states_in(args, kwargs), mask)

        with ExitStack() as hooks:
            for index, block in enumerate(self.below):
                hooks.enter_context(block.register_forward_hook(left(index)))
            hooks.enter_context(self.block.register_forward_pre_hook(entered, with_kwargs=True))
            yield
        if seen != list(range(self.place + 1)):
            raise NoEntranceError("its blocks do not run one after the other, each once")

    @contextmanager
    def reading(self, mask: Tensor) -> Iterator[None]:
        def entered(_module: nn.Module, args: Any, kwargs: Any) -> None:
            raise Reached(_states_in(args, kwargs)[mask.bool()])

        with self.block.register_forward_pre_hook(entered, with_kwargs=True):
            yield

    @contextmanager
    def entering(self, states: Tensor, mask: Tensor) -> Iterator[None]:
        padded = _padded(states, mask)

        def entered(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            if args:
                return (padded, *args[1:]), kwargs
            return args, kwargs | {"hidden_states": padded}

        with ExitStack() as changed:
            for block, form in zip(self.below, self._forms, strict=True):
                changed.enter_context(_replaced(block, _passing_by(form)))
            changed.enter_context(self.block.register_forward_pre_hook(entered, with_kwargs=True))
            yield


class ModuleEntrance:
    """What a whole module gives: the body below a head, or the encoder below its decoder.

    row: None for the states of all tokens; `first` or `last` for those of one token per sequence,
    which then stand for all, beside what the pooler gives. That is for heads that read no other.
    """

    def __init__(self, module: nn.Module, place: int, row: str | None):
        self.module, self.place, self.row = module, place, row
        self.per_token = row is None
        self._kind: Any = None
        self._width = 0
        self._pools = False

    @contextmanager
    def watching(self, mask: Tensor) -> Iterator[None]:
        seen = []

        def left(_module: nn.Module, _args: Any, output: Any) -> None:
            seen.append(output)
            states = getattr(output, "last_hidden_state", None)
            _check(states, mask)
            pooled = getattr(output, "pooler_output", None)
            self._kind, self._width = type(output), states.shape[-1]  # type: ignore[union-attr]
            self._pools = isinstance(pooled, Tensor) and self.row is not None
            if self._pools and pooled.requires_grad:  # type: ignore[union-attr]
                raise NoEntranceError("its pooler is trained")

        with self.module.register_forward_hook(left):
            yield
        if len(seen) != 1:
            raise NoEntranceError(f"{type(self.module).__name__} ran {len(seen)} times in one pass")

    @contextmanager
    def reading(self, mask: Tensor) -> Iterator[None]:
        def left(_module: nn.Module, _args: Any, output: Any) -> None:
            states = output.last_hidden_state
            if self.row is None:
                raise Reached(states[mask.bool()])
            place = mask.sum(1) - 1 if self.row == "last" else torch.zeros_like(mask[:, 0])
            kept = states[torch.arange(len(mask), device=mask.device), place]
            raise Reached(torch.cat([kept, output.pooler_output], 1) if self._pools else kept)

        with self.module.register_forward_hook(left):
            yield

    @contextmanager
    def entering(self, states: Tensor, mask: Tensor) -> Iterator[None]:
        parts = {}
        if self.row is None:
            parts["last_hidden_state"] = _padded(states, mask)
        else:
            one = states[:, None, : self._width]
            parts["last_hidden_state"] = one.expand(-1, mask.shape[1], -1)
        if self._pools:
            parts["pooler_output"] = states[:, self._width :]
        with _replaced(self.module, lambda *_args, **_kwargs: self._kind(**parts)):
            yield


def entrances(backbone: Backbone, lowest: int, row: str | None) -> list[Entrance]:
    """What to try, the latest first, for members whose lowest trained module is in the block
    `lowest`. row: which token's state the head reads of a sequence, or None where it reads many.

    Raises NoEntranceError where there is nothing to try.
    """
    model, blocks = backbone.model, backbone.blocks
    if _drops_layers(backbone.config):
        raise NoEntranceError("it leaves blocks out at random")
    found: list[Entrance] = []
    body = getattr(model, model.base_model_prefix, None)
    if lowest > blocks and body is not None and backbone.head != "seq2seq_lm":
        other = "first" if row == "last" else "last"
        found += [
            ModuleEntrance(body, blocks + 1, which)
            for which in ([row, other, None] if row is not None else [None])
        ]
    if getattr(backbone.config, "is_encoder_decoder", False):
        return found + _in_encoder(backbone, lowest)
    lists = _block_lists(backbone)
    place = min(lowest, blocks - 1)
    if len(lists) == 1 and len(lists[0]) == blocks and place > 0:
        found.append(BlockEntrance(list(lists[0]), place))
    if not found:
        raise NoEntranceError("its blocks are not in one list that is run through")
    return found


def _in_encoder(backbone: Backbone, lowest: int) -> list[Entrance]:
    """Behind the encoder where nothing in it trains, else at a block of it."""
    encoder = backbone.model.get_encoder()
    inside = {id(module) for module in encoder.modules()}
    lists = [blocks for blocks in _block_lists(backbone) if id(blocks) in inside]
    if len(lists) != 1:
        return []
    if lowest >= len(lists[0]):
        return [ModuleEntrance(encoder, len(lists[0]), None)]
    return [BlockEntrance(list(lists[0]), lowest)]


def _block_lists(backbone: Backbone) -> list[nn.ModuleList]:
    """The lists that hold the model's blocks; one, and one for each stack of an encoder-decoder."""
    found = {}
    for name in backbone.sites:
        index = roles.block(name)
        if index is not None:
            where = name[: name.index(f".{index}.")] if f".{index}." in name else name
            module = backbone.model.get_submodule(where)
            if not isinstance(module, nn.ModuleList):
                return []
            found[id(module)] = module
    return list(found.values())


def _drops_layers(config: Any) -> bool:
    """Whether whole blocks are left out at random in training, so that an entrance may be, too."""
    names = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
    return any((getattr(config, name, 0.0) or 0.0) > 0.0 for name in names)


def _states_in(args: Any, kwargs: Any) -> Tensor:
    """What a block is called with."""
    states: Any = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(states, Tensor):
        raise NoEntranceError("its blocks do not take their states first")
    return states


def _check(states: Any, mask: Tensor) -> None:
    if not isinstance(states, Tensor) or states.ndim != 3 or states.shape[:2] != mask.shape:
        raise NoEntranceError("its states are not one vector per token")
    if states.requires_grad:
        raise NoEntranceError("something that is trained comes before it")


def _form(output: Any) -> int:
    if isinstance(output, Tensor):
        return 0
    if type(output) is tuple and output and isinstance(output[0], Tensor):
        return len(output)
    raise NoEntranceError("its blocks do not give their states first")


def _passing_by(form: int) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        states = _states_in(args, kwargs)
        return states if form == 0 else (states, *[None] * (form - 1))

    return forward


def _padded(states_SD: Tensor, mask: Tensor) -> Tensor:
    """(B, L, D), zeros where there is no token."""
    padded = states_SD.new_zeros((*mask.shape, states_SD.shape[-1]))
    padded[mask.bool()] = states_SD
    return padded


@contextmanager
def _replaced(module: nn.Module, forward: Any) -> Iterator[None]:
    """Within: the module's forward is another."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
