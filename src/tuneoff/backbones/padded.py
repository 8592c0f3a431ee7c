"""Any Hugging Face model on padded batches: for architectures without a family of their own.

The model's own forward runs on right-padded ids and goes through the sites, so hooks work as
everywhere. Micro-batches are sorted by length inside a batch, which keeps most padding away.
Axes: B sequences of all members, L the longest of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tuneoff.backbones.attach import intercepted
from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.entrances import Entrance, Reached
from tuneoff.errors import BackboneError
from tuneoff.training.layout import Kept, Layout, Pool
from tuneoff.training.prompts import start_of_text
from tuneoff.training.streams import as_of


class Padded:
    """The same face as a `Family`, over the Hugging Face model's own forward. It begins with the
    token ids, or with states at its one `entrance`."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self.blocks = backbone.blocks
        self.gradient_checkpointing = False
        self.pool: Pool = "last" if backbone.kind == "decoder" else "first"
        self.entrance: Entrance | None = None

    def kept_at(self, entry: int) -> tuple[Kept, ...]:
        """What states at `entry` are kept of: each token, or each sequence."""
        assert self.entrance is not None, f"no entrance at {entry}"
        return ("token",) if self.entrance.per_token else ("example",)

    @property
    def reads(self) -> Pool:
        """Which rows the head reads."""
        if self.backbone.head == "question_answering":
            return "tokens"
        speaks = self.backbone.head in ("causal_lm", "seq2seq_lm")
        return "labelled" if speaks else self.pool

    @property
    def random_streams(self) -> bool:
        """True where the model draws dropout from PyTorch's global stream, not the members'."""
        return True

    def forward(self, layout: Layout, h: Tensor | None = None, entry: int = 0) -> Tensor:
        """(R, C) logits for the layout's rows, from token ids."""
        model: Any = self.backbone.model
        saving = self.gradient_checkpointing and layout.streams is not None
        if saving:
            _set_checkpointing(model, partial(self._contexts, layout))
        try:
            with self._running(layout), self._from(h, layout, entry):
                return self._forward(model, layout)
        finally:
            if saving:
                _set_checkpointing(model, None)

    def advance(self, h: Tensor | None, layout: Layout, entry: int, until: int) -> Tensor:
        """States at the entrance, from the token ids."""
        assert h is None, "what lies before an entrance begins with the token ids"
        assert entry == 0, "what lies before an entrance begins with the first block"
        assert self.entrance is not None, "no entrance"
        assert self.entrance.place == until, f"the entrance is not at {until}"
        try:
            with self._running(layout), self.entrance.reading(real_tokens(layout)):
                self._forward(self.backbone.model, layout)
        except Reached as reached:
            return reached.states
        raise AssertionError(f"the forward never came to place {until}")

    def _from(self, h: Tensor | None, layout: Layout, entry: int) -> AbstractContextManager[Any]:
        if h is None:
            assert entry == 0, "states are needed to begin later"
            return nullcontext()
        assert self.entrance is not None, "no entrance"
        assert self.entrance.place == entry, f"the entrance is not at {entry}"
        entering: AbstractContextManager[Any] = self.entrance.entering(h, real_tokens(layout))
        return entering

    @contextmanager
    def _running(self, layout: Layout) -> Iterator[None]:
        """Within: the model trains or not, its dropout is the member's, the hooks are on."""
        model = self.backbone.model
        model.train(layout.streams is not None)
        try:
            with _dropout(model, layout), intercepted(self.backbone, layout.sequence_bounds):
                yield
        finally:
            model.eval()

    def _contexts(self, layout: Layout) -> tuple[Any, Any]:
        """What a block runs in when it first runs, and when it runs again for its gradients."""
        assert layout.streams is not None
        return nullcontext(), self._again(layout, [stream.state() for stream in layout.streams])

    @contextmanager
    def _again(self, layout: Layout, states: list[Any]) -> Iterator[None]:
        """Within: as it was when the members' streams had these states."""
        with as_of(layout.streams or (), states), self._running(layout):
            yield

    def _forward(self, model: Any, layout: Layout) -> Tensor:
        ids, mask, segments = pad(layout, int(model.config.pad_token_id or 0))
        kwargs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if segments is not None and bool(getattr(model.config, "type_vocab_size", 0)):
            kwargs["token_type_ids"] = segments
        name = self._output_layer() if layout.form in ("example", "token") else None
        body = model if name is None else getattr(model, model.base_model_prefix)
        if "use_cache" in inspect.signature(body.forward).parameters:
            kwargs["use_cache"] = False
        if layout.form == "sequence":
            return self._spoken(model, kwargs, layout)
        if layout.form == "span":
            made = model(**kwargs)
            return torch.stack([made.start_logits, made.end_logits], -1)[mask.bool()]
        if name is None:
            return model(**kwargs).logits  # type: ignore[no-any-return]
        states = body(**kwargs).last_hidden_state
        flat = states.reshape(-1, states.shape[-1])
        places = mask.flatten().nonzero().squeeze(1)[layout.rows]
        return self.backbone.sites[name](flat[places], layout.row_bounds)

    def _spoken(self, model: Any, kwargs: dict[str, Any], layout: Layout) -> Tensor:
        """(R, V) of an encoder-decoder that reads its own targets, shifted by one."""
        said, labelled = self._said(layout)
        with self._head_of(labelled, layout):
            return model(**kwargs, **said).logits  # type: ignore[no-any-return]

    def _said(self, layout: Layout) -> tuple[dict[str, Tensor], Tensor]:
        """What the decoder reads, (B, U) with its mask, and (R,) the places of labelled tokens."""
        assert layout.decoder_targets is not None
        assert layout.decoder_lengths is not None
        lengths = layout.decoder_lengths
        places = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        said = torch.full_like(
            places, int(self.backbone.config.pad_token_id or 0), dtype=torch.long
        )
        said[places] = layout.decoder_targets.clamp(min=0)
        start = torch.full_like(said[:, :1], start_of_text(self.backbone))
        read = torch.cat([start, said[:, :-1]], 1)
        labelled = places.flatten().nonzero().squeeze(1)[layout.rows]
        return {"decoder_input_ids": read, "decoder_attention_mask": places.long()}, labelled

    @contextmanager
    def _head_of(self, labelled: Tensor, layout: Layout) -> Iterator[None]:
        """Within: the output layer takes the labelled tokens alone out of what it is given, for the
        vocabulary is the widest of all products. (B, L, D) -> (R, V)."""
        output = self.backbone.model.get_output_embeddings()
        site = next(one for one in self.backbone.sites.values() if one.module is output)
        before = vars(output).get("forward")

        def forward(states: Tensor) -> Tensor:
            return site(states.reshape(-1, states.shape[-1])[labelled], layout.row_bounds)

        output.forward = forward
        try:
            yield
        finally:
            if before is None:
                del output.forward
            else:
                output.forward = before

    def _output_layer(self) -> str | None:
        """The linear layer over single rows that the model ends in, where that is all there is:
        decoders' `score`, and output embeddings without scaling or capping of logits."""
        sites, config = self.backbone.sites, self.backbone.config
        if self.backbone.head == "causal_lm":
            plain = (
                not getattr(config, "final_logit_softcapping", None)
                and not getattr(config, "logits_scaling", None)
                and not getattr(config, "logit_scale", None)
            )
            output = self.backbone.model.get_output_embeddings()
            names = [name for name, site in sites.items() if site.module is output]
            if not plain or not names:
                raise NotImplementedError(f"{config.model_type}: scaled logits")
            return names[0]
        return "score" if "score" in sites and self.backbone.kind == "decoder" else None


class Wrapped(Padded):
    """A model that a method has rewritten as a whole (PEFT's own methods), one member alone."""

    def __init__(self, backbone: Backbone, model: Any):
        super().__init__(backbone)
        self.model = model

    def forward(self, layout: Layout, h: Tensor | None = None, entry: int = 0) -> Tensor:
        assert h is None, "a padded forward begins with the token ids"
        assert entry == 0, "a padded forward begins with the first block"
        config = self.backbone.model.config
        used = set(layout.ids.unique().tolist())
        if layout.decoder_targets is not None:
            used |= set(layout.decoder_targets.unique().tolist())
        free = next(i for i in range(config.vocab_size) if i not in used)
        ids, mask, segments = pad(layout, free)
        kinds = {}
        if segments is not None and self._takes_segments():
            kinds["token_type_ids"] = segments
        before, config.pad_token_id = config.pad_token_id, free  # decoders find the last real token
        self.model.train(layout.streams is not None)
        try:
            with _dropout(self.model, layout):
                said, labelled = self._said(layout) if layout.form == "sequence" else ({}, None)
                made = self.model(input_ids=ids, attention_mask=mask, **kinds, **said)
        finally:
            config.pad_token_id = before
            self.model.eval()
        logits: Tensor = (
            torch.stack([made.start_logits, made.end_logits], -1)
            if layout.form == "span"
            else made.logits
        )
        if layout.one_row_per_sequence:
            return logits
        if labelled is not None:
            return logits.flatten(0, 1)[labelled]
        real = logits[:, -ids.shape[1] :]  # virtual tokens stand in front
        return real[mask.bool()][layout.rows]

    def _takes_segments(self) -> bool:
        """Whether the model tells the texts of a pair apart; PEFT drops that where virtual tokens
        stand in front."""
        config = getattr(self.model, "active_peft_config", None)
        knows = bool(getattr(self.backbone.model.config, "type_vocab_size", 0))
        return knows and not getattr(config, "is_prompt_learning", False)


def pad(layout: Layout, pad_id: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """(B, L) ids, attention mask and segment ids, padded on the right."""
    mask = real_tokens(layout).bool()
    ids = torch.full(mask.shape, pad_id, dtype=torch.int64, device=mask.device)
    ids[mask] = layout.ids
    segments = None
    if layout.token_type is not None:
        segments = torch.zeros_like(ids)
        segments[mask] = layout.token_type
    return ids, mask.long(), segments


def real_tokens(layout: Layout) -> Tensor:
    """(B, L) int64, ones for real tokens."""
    lengths = layout.lengths
    places = torch.arange(int(lengths.max()), device=lengths.device)
    return (places < lengths[:, None]).long()


def _set_checkpointing(model: Any, contexts: Any) -> None:
    """The model's blocks keep their input alone and run again in the backward pass (None: not).

    contexts: gives what a block runs in at first, and again. Raises BackboneError where the
    architecture does not know how to. Embeddings need no gradients for it, so it is not
    transformers' public switch, which makes them.
    """
    if not model.supports_gradient_checkpointing:
        raise BackboneError(
            f"{type(model).__name__} cannot save memory by gradient checkpointing; leave "
            "training.gradient_checkpointing out, or take smaller micro-batches"
        )
    run = partial(checkpoint, use_reentrant=False, context_fn=contexts)
    model._set_gradient_checkpointing(contexts is not None, run)


_RATES = ("p", "dropout", "attention_dropout", "activation_dropout", "hidden_dropout")


class _dropout:  # noqa: N801 - reads as the context manager that it is
    """Within: a member's own dropout rate stands in for the model's (one member alone), in Dropout
    modules and in the attributes from which attention code reads its rate."""

    def __init__(self, model: Any, layout: Layout):
        rate = layout.dropout_rates[0]
        self.rate = rate
        self.changed = (
            []
            if rate is None
            else [
                (module, name, vars(module)[name])
                for module in model.modules()
                for name in (_RATES if isinstance(module, nn.Dropout) else _RATES[1:])
                if isinstance(vars(module).get(name), float) and vars(module)[name] > 0.0
            ]
        )

    def __enter__(self) -> None:
        for module, name, _ in self.changed:
            setattr(module, name, self.rate)

    def __exit__(self, *_: Any) -> None:
        for module, name, rate in self.changed:
            setattr(module, name, rate)
