"""Sites and hooks: where a method enters a frozen backbone, and what it does there.

A site stands in front of one module of the backbone that owns parameters. It runs the frozen
module once over the rows of all members, and lets each member's hook act on that member's rows
alone, so gradients and numbers of members never mix.

Axes: T rows of all members end to end (tokens, or sequences in a padded batch), t rows of one
member, I features in, O features out. `bounds` holds (start, end) of each member along T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from tuneoff.training.streams import Stream

Bounds = Sequence[tuple[int, int]]
Kind = Literal["linear", "norm", "embedding", "other"]
Affine = tuple[Tensor, Tensor | None]
"""(O, I) weight and (O,) bias of x W' + b."""


class Hook(nn.Module):
    """One member's trainable module at one site.

    A hook either `replaces` the frozen module for its rows, or may change what goes in
    (`changes_input`) and what comes out. It draws randomness from `stream` alone.
    """

    replaces: ClassVar[bool] = False
    changes_input: ClassVar[bool] = False
    fused: ClassVar[Callable[..., Tensor] | None] = None
    """`fused(site, x, bounds, hooks)`: the whole site in one operation, used where the hooks of
    all members are of this class."""

    stream: Stream | None = None
    """The member's random stream; set by the engine."""

    def before(self, x_tI: Tensor, site: Site) -> Tensor:
        """The input that the frozen module sees for this member."""
        return x_tI

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        """The output for this member; `x_tI` is the input before `before`."""
        return y_tO

    def replace(self, x_tI: Tensor, site: Site) -> Tensor:
        """The output for this member when the hook `replaces` the frozen module."""
        raise NotImplementedError

    def stand_ins(self) -> dict[str, Tensor] | None:
        """Parameters that stand in for the module's own, where that is all that the hook does."""
        return None

    def affine(self, site: Site) -> Affine | None:
        """What the linear site is for this member, as one weight and bias with gradients; None
        where it is more than that, or draws dropout."""
        return None

    def learning_rate_ratio(self, name: str) -> float:
        """What the member's learning rate is multiplied by for the parameter `name`."""
        return 1.0

    def decays(self, name: str) -> bool:
        """Whether weight decay applies: matrices only, as transformers' Trainer does."""
        return bool(self.get_parameter(name).ndim >= 2)

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        """The site's own parameters (names as in its module) with this hook folded in, in fp32
        and the module's orientation; None when the hook cannot be folded."""
        return None

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Dropout from the member's own stream; nothing in evaluation or at p = 0."""
        if not self.training or p == 0.0:
            return x
        assert self.stream is not None, "a training hook has no random stream"
        return self.stream.dropout(x, p)


class Own(Hook):
    """The member's own copy of the site's parameters, all trained: what full fine-tuning, trained
    blocks and new heads are made of. `shared` maps a tied parameter's id to the one copy of it."""

    replaces = True

    def __init__(self, site: Site, shared: dict[int, nn.Parameter] | None = None):
        super().__init__()
        for name, value in site.module.named_parameters(recurse=False):
            key = id(value)
            if shared is not None and key in shared:
                copy = shared[key]
            else:
                copy = nn.Parameter(
                    value.detach().clone().float()
                    if value.dtype in (torch.float16, torch.bfloat16)
                    else value.detach().clone()
                )
                if shared is not None:
                    shared[key] = copy
            self.register_parameter(name, copy)
        self._norm = site.kind == "norm"

    def replace(self, x_tI: Tensor, site: Site) -> Tensor:
        return site.run_with(x_tI, dict(self._parameters))

    def stand_ins(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._parameters.items() if value is not None}

    def affine(self, site: Site) -> Affine | None:
        weight, bias = self._parameters["weight"], self._parameters.get("bias")
        assert weight is not None
        return weight.t() if site.transposed else weight, bias

    def decays(self, name: str) -> bool:
        return not self._norm and super().decays(name)

    def merged(self, site: Site) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.stand_ins().items()}


class Site:
    """One module of the backbone that owns parameters.

    name: dotted, as in the Hugging Face model; role: the same in every architecture (see
    `roles.py`); block: index of the transformer block, -1 for embeddings, `blocks` and above for
    what follows the last block; is_head: new, without pretrained weights, trained by every method.
    """

    def __init__(
        self, name: str, module: nn.Module, kind: Kind, role: str, block: int, is_head: bool = False
    ):
        self.name, self.module, self.kind = name, module, kind
        self.role, self.block, self.is_head = role, block, is_head
        self.hooks: list[Hook | None] = []
        self.share = 1.0
        """How much of what hooks change in the output counts: 0 is the frozen module alone. Where
        the output is linear in the parameters (linear, norm, embedding), this is the output of
        parameters that lie so far between the frozen and the trained ones."""
        self.lent = False
        """Whether the module holds the one member's parameters in place of its own."""
        self._forward = module.forward
        self.transposed = type(module).__name__ == "Conv1D"
        self.quantized = type(module).__name__ in ("Linear4bit", "Linear8bitLt")
        self.dequantized: Tensor | None = None
        """An `nf4`/`fp4` weight kept dequantized, (O, I), within the memory budget."""
        self.low: Tensor | None = None
        """A plain weight once more in 16 bits, (O, I): what autocast would make of it anew in
        every product. Used under autocast alone."""
        module_bias = getattr(module, "bias", None)
        self.has_bias = module_bias is not None
        if kind == "linear":
            self.in_features, self.out_features = _linear_shape(module)
        elif kind == "embedding":
            table: Any = module.weight
            self.in_features, self.out_features = table.shape
        else:
            weight = getattr(module, "weight", None)
            self.in_features = self.out_features = (
                int(weight.shape[-1]) if weight is not None else 0
            )

    def __repr__(self) -> str:
        return f"Site({self.name}, {self.role}, block {self.block})"

    @property
    def bias(self) -> Tensor | None:
        """(O,) frozen bias, or None."""
        bias: Tensor | None = getattr(self.module, "bias", None)
        return bias

    def weight(self) -> Tensor:
        """(O, I) frozen weight of a linear site, dequantized where it is quantized."""
        if self.dequantized is not None:
            return self.dequantized
        weight: Any = self.module.weight
        if self.quantized:
            from tuneoff.backbones.quantization import dequantize

            return dequantize(self.module)
        return weight.t() if self.transposed else weight  # type: ignore[no-any-return]

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """(O, I) frozen weight in the type of a product."""
        if self.low is not None and self.low.dtype == dtype:
            return self.low
        return self.weight().to(dtype)

    def lower(self, dtype: torch.dtype | None) -> None:
        """Keep the frozen weight in 16 bits too, for autocast; None forgets it."""
        if dtype is None or self.kind != "linear" or self.quantized:
            self.low = None
        elif self.low is None or self.low.dtype != dtype:
            self.low = self.weight().detach().to(dtype).contiguous()

    def frozen(self, x_TI: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The frozen module alone."""
        if self.low is not None and torch.is_autocast_enabled(x_TI.device.type):
            bias, low = self.bias, self.low
            bias = None if bias is None else bias.to(low.dtype)
            return F.linear(x_TI.to(low.dtype), low, bias)
        if self.dequantized is not None:
            bias, weight = self.bias, self.dequantized
            entered = x_TI.to(weight.dtype)
            bias = None if bias is None else bias.to(weight.dtype)
            return F.linear(entered, weight, bias).to(x_TI.dtype)
        if self.quantized and type(self.module).__name__ == "Linear4bit":
            from tuneoff.backbones.quantization import linear_4bit

            return linear_4bit(self.module, x_TI)
        return self._forward(x_TI, *args, **kwargs)  # type: ignore[no-any-return]

    def run_with(self, x: Tensor, parameters: dict[str, Any]) -> Tensor:
        """The module with other parameters in place of its own."""
        if self.kind == "linear":
            weight = parameters["weight"]
            return F.linear(x, weight.t() if self.transposed else weight, parameters.get("bias"))
        if isinstance(self.module, nn.LayerNorm):
            return F.layer_norm(
                x,
                self.module.normalized_shape,
                parameters["weight"],
                parameters.get("bias"),
                self.module.eps,
            )
        if type(self.module) is nn.Embedding:  # Gemma's, for one, scales what it looks up
            return F.embedding(x, parameters["weight"], self.module.padding_idx)
        here, self.module.forward = self.module.forward, self._forward
        try:
            return functional_call(self.module, parameters, (x,))  # type: ignore[no-any-return]
        finally:
            self.module.forward = here

    def __call__(self, x: Tensor, bounds: Bounds) -> Tensor:
        """The site over the rows of all members. x: (T, ...), -> (T, ...)."""
        if self.lent or not any(self.hooks):
            return self.frozen(x)
        y = self._hooked(x, bounds)
        if self.share == 1.0:
            return y
        return torch.lerp(self.frozen(x).to(y.dtype), y, self.share)

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Within: the module's own parameters are those of the one member's hook (`stand_ins`), so
        that they act wherever the model reads them, whatever the module is called with."""
        hook, own = self.hooks[0], self.module._parameters
        stand_ins = hook.stand_ins() if hook is not None else None
        assert stand_ins is not None, f"{self.name}: its hook does more than stand in"
        before = {name: own[name] for name in stand_ins}
        for name, value in stand_ins.items():
            frozen = before[name]
            assert frozen is not None
            if self.share != 1.0:
                value = torch.lerp(frozen.to(value.dtype), value, self.share)
            own[name] = value  # type: ignore[assignment] # what torch.func.functional_call does
        self.lent = True
        try:
            yield
        finally:
            own.update(before)
            self.lent = False

    def _hooked(self, x: Tensor, bounds: Bounds) -> Tensor:
        hooks = self.hooks
        first = hooks[0]
        if (
            first is not None
            and first.fused is not None
            and all(type(hook) is type(first) for hook in hooks)
        ):
            return type(first).fused(self, x, bounds, hooks)  # type: ignore[misc]
        return self.member_by_member(x, bounds)

    def affine(self, dtype: torch.dtype) -> list[Affine] | None:
        """The linear site as each member's weight and bias of this type; None where it is not
        that, under autocast, or between the frozen and the trained model."""
        if self.share != 1.0 or type(self.module).__name__ == "Linear8bitLt":
            return None
        found = []
        for hook in self.hooks or [None]:
            one = (self.weight(), self.bias) if hook is None else hook.affine(self)
            if one is None or any(part is not None and part.dtype != dtype for part in one):
                return None
            found.append(one)
        return found

    def member_by_member(self, x: Tensor, bounds: Bounds) -> Tensor:
        """The site without `fused`, which may call it for what it does not cover."""
        first = self.hooks[0]
        if len(self.hooks) == 1 and first is not None:
            return _one(self, x, first)
        return self._each(x, bounds)

    def _each(self, x: Tensor, bounds: Bounds) -> Tensor:
        """Members with different hooks: the frozen module once, then member by member."""
        hooks = self.hooks
        inputs = [x[start:end] for start, end in bounds]
        keeps = [hook is None or not hook.replaces for hook in hooks]
        frozen: list[Tensor | None] = [None] * len(hooks)
        if any(keeps):
            entered = [
                hook.before(part, self) if hook is not None and hook.changes_input else part
                for hook, part in zip(hooks, inputs, strict=True)
            ]
            whole = all(keeps) and not any(
                hook is not None and hook.changes_input for hook in hooks
            )
            joined = (
                x
                if whole
                else torch.cat([part for part, keep in zip(entered, keeps, strict=True) if keep])
            )
            sizes = [len(part) for part, keep in zip(entered, keeps, strict=True) if keep]
            pieces = iter(self.frozen(joined).split(sizes))
            frozen = [next(pieces) if keep else None for keep in keeps]
        outputs = []
        for hook, part, y in zip(hooks, inputs, frozen, strict=True):
            if hook is None:
                assert y is not None
                outputs.append(y)
            elif y is None:
                outputs.append(hook.replace(part, self))
            else:
                outputs.append(hook.after(part, y, self))
        return torch.cat(outputs)


def _one(site: Site, x: Tensor, hook: Hook) -> Tensor:
    if hook.replaces:
        return hook.replace(x, site)
    entered = hook.before(x, site) if hook.changes_input else x
    return hook.after(x, site.frozen(entered), site)


def _linear_shape(module: Any) -> tuple[int, int]:
    """(I, O); Conv1D keeps its weight as (I, O)."""
    if type(module).__name__ == "Conv1D":
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return int(module.in_features), int(module.out_features)
