"""The low-rank hook: y = x W' + b + scaling * dropout(x) A' B'.

Where nothing is dropped, a linear site with low-rank hooks is one autograd node for all members:
the frozen product once, and each member's update written into its rows in place.

Axes: T rows of all members, t of one, I features in, O out, r rank, K members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tuneoff.backbones.sites import Affine, Bounds, Hook, Site
from tuneoff.methods.hooks import folded, trained_dtype

Rows = list[tuple[int, int]]
Form = Literal["added", "merged", "stacked"]
_IN_CACHE = 2**18  # entries of a weight that a core's own cache holds
_IN_CACHE_SHARE, _OUTSIDE_SHARE = 0.5, 3.0


class LowRank(Hook):
    """A: (r, I) uniform in +-1/sqrt(I), B: (O, r) zero, so that training starts at the frozen
    model.

    Source: Hu et al. 2021 (LoRA, arXiv 2106.09685); initial values as PEFT's
    `LoraLayer.reset_lora_parameters`; `b_ratio`: Hayou et al. 2024 (LoRA+, arXiv 2402.12354).
    """

    def __init__(
        self,
        site: Site,
        rank: int,
        scaling: float,
        dropout: float,
        b_ratio: float,
        generator: torch.Generator,
    ):
        super().__init__()
        dtype = trained_dtype(site)
        bound = site.in_features**-0.5
        a = torch.empty((rank, site.in_features)).uniform_(-bound, bound, generator=generator)
        self.A = nn.Parameter(a.to(dtype))
        self.B = nn.Parameter(torch.zeros((site.out_features, rank), dtype=dtype))
        self.scaling, self.p, self.b_ratio = scaling, dropout, b_ratio

    def factors(self) -> tuple[Tensor, Tensor]:
        """(r, I) and (O, r)."""
        return self.A, self.B

    def after(self, x_tI: Tensor, y_tO: Tensor, site: Site) -> Tensor:
        entered = self.dropout(x_tI.to(self.A.dtype), self.p)
        down, up = self.factors()
        delta = F.linear(F.linear(entered, down), up)
        return torch.add(y_tO, delta.to(y_tO.dtype), alpha=self.scaling)

    def affine(self, site: Site) -> Affine | None:
        if self.training and self.p > 0.0:
            return None
        down, up = self.factors()
        return torch.addmm(site.weight().to(down.dtype), up, down, alpha=self.scaling), site.bias

    def learning_rate_ratio(self, name: str) -> float:
        return self.b_ratio if name == "B" else 1.0

    def merged(self, site: Site) -> dict[str, Tensor] | None:
        down, up = self.factors()
        update = self.scaling * (up @ down)
        return folded(site, site.weight().to(update.dtype) + update)

    @staticmethod
    def fused(site: Site, x: Tensor, bounds: Bounds, hooks: Sequence[LowRank]) -> Tensor:
        """The whole site for all members; x: (T, I) or (sequences, length, I)."""
        dtype = _compute_dtype(site, x, hooks)
        if dtype is None:
            return site.member_by_member(x, bounds)
        length = x.shape[1:-1].numel()
        rows = [(start * length, end * length) for start, end in bounds]
        flat = (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])).to(dtype)
        factors = [f.to(dtype) for hook in hooks for f in hook.factors()]
        scalings = [hook.scaling for hook in hooks]
        form = _form(site, flat, rows)
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = LowRankSite.apply(  # type: ignore[no-untyped-call]
                flat, site, rows, scalings, form, *factors
            )
        return y if x.ndim == 2 else y.view(*x.shape[:-1], -1)


def _compute_dtype(site: Site, x: Tensor, hooks: Sequence[LowRank]) -> torch.dtype | None:
    """The dtype of the fused products; None where members must go one by one: dropout, 8 bits
    (its product is bitsandbytes' own), or dtypes that only autocast may mix."""
    if any(hook.p > 0.0 and hook.training for hook in hooks):
        return None
    if site.quantized and site.dequantized is None:
        if type(site.module).__name__ != "Linear4bit":
            return None
        own: Any = site.module.compute_dtype
    else:
        own = site.weight().dtype
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return own if own == x.dtype == hooks[0].A.dtype else None


def _form(site: Site, x: Tensor, rows: Rows) -> Form:
    """The fastest way to the same numbers.

    Updating the weight (W + scaling B A, formed anew in each direction) saves two thin products
    with x's rows, and pays where these outweigh the weight; measured on one CPU thread in float32,
    over the frozen product: 55 -> 37 % at 800 rows, 256 -> 256; 16 -> 11 % at 1600 rows,
    768 -> 768; but 11 -> 20 % at 800 rows there. Not in 16 bits, where small updates round away.
    """
    counts = {end - start for start, end in rows}
    if x.is_cuda:
        return "stacked" if len(rows) > 1 and len(counts) == 1 else "added"
    size = site.in_features * site.out_features
    thin = min(counts) * (site.in_features + site.out_features)
    pays = thin >= (_IN_CACHE_SHARE if size <= _IN_CACHE else _OUTSIDE_SHARE) * size
    return "merged" if pays and x.dtype in (torch.float32, torch.float64) else "added"


class LowRankSite(torch.autograd.Function):
    """x W' + b, plus scaling_k x_k A_k' B_k' on the rows of each member k.

    Saves x and at most the (t, r) products; gives no dx where x needs none. A weight of 4 bits is
    dequantized once in each direction for all members. Forms: `added`, the frozen product once and
    each update into its rows; `stacked`, the same in batched products over members of as many rows
    each, ranks padded with zeros, which saves a GPU most of its launches; `merged`, see `_form`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        site: Site,
        rows: Rows,
        scalings: list[float],
        form: Form,
        *factors: Tensor,
    ) -> Tensor:
        weight, bias = site.weight_in(x.dtype), site.bias
        bias = None if bias is None else bias.to(x.dtype)
        downs, ups = factors[::2], factors[1::2]
        middles: list[Tensor] = []
        if form == "merged":
            y = x.new_empty((len(x), weight.shape[0]))
            for (start, end), a, b, scaling in zip(rows, downs, ups, scalings, strict=True):
                updated = torch.addmm(weight, b, a, alpha=scaling)
                _product(x[start:end], updated.t(), bias, y[start:end])
        else:
            y = F.linear(x, weight, bias)
        if form == "stacked":
            down, up = _stack(downs, 0), _stack(ups, 1, scalings)
            middles = [torch.bmm(x.view(len(rows), -1, x.shape[1]), down.mT)]
            y.view(len(rows), -1, y.shape[1]).baddbmm_(middles[0], up.mT)
        elif form == "added":
            for (start, end), a, b, scaling in zip(rows, downs, ups, scalings, strict=True):
                middles.append(x[start:end] @ a.t())
                y[start:end].addmm_(middles[-1], b.t(), alpha=scaling)
        ctx.save_for_backward(x, *factors, *middles)
        ctx.site, ctx.rows, ctx.scalings, ctx.form = site, rows, scalings, form
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        factors, middles = saved[: 2 * len(ctx.rows)], saved[2 * len(ctx.rows) :]
        weight = ctx.site.weight_in(dy.dtype) if ctx.needs_input_grad[0] else None
        each = _stacked_gradients if ctx.form == "stacked" else _gradients
        dx, grads = each(dy, x, weight, factors, middles, ctx.rows, ctx.scalings)
        return (dx, None, None, None, None, *grads)


def _gradients(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    factors: Sequence[Tensor],
    middles: Sequence[Tensor],
    rows: Rows,
    scalings: list[float],
) -> tuple[Tensor | None, list[Tensor]]:
    """dx, and dA and dB of each member in turn; without `middles` the weight is updated again."""
    grads = []
    merged = not middles
    dx = None
    if weight is not None:
        dx = torch.empty_like(x) if merged else dy @ weight
    for k, (start, end) in enumerate(rows):
        a, b, scaling = factors[2 * k], factors[2 * k + 1], scalings[k]
        x_t, dy_t = x[start:end], dy[start:end]
        dmiddle = (dy_t @ b).mul_(scaling)
        if dx is not None and weight is not None:
            if merged:
                updated = torch.addmm(weight, b, a, alpha=scaling)
                torch.mm(dy_t, updated, out=dx[start:end])
            else:
                dx[start:end].addmm_(dmiddle, a)
        middle = x_t @ a.t() if merged else middles[k]
        grads += [dmiddle.t() @ x_t, (dy_t.t() @ middle).mul_(scaling)]
    return dx, grads


def _stacked_gradients(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    factors: Sequence[Tensor],
    middles: Sequence[Tensor],
    rows: Rows,
    scalings: list[float],
) -> tuple[Tensor | None, list[Tensor]]:
    """As `_gradients`, in batched products."""
    count = len(rows)
    down, up = _stack(factors[::2], 0), _stack(factors[1::2], 1, scalings)
    dy_KtO = dy.reshape(count, -1, dy.shape[1])
    dmiddle = torch.bmm(dy_KtO, up)
    dx = None
    if weight is not None:
        dx = dy @ weight
        dx.view(count, -1, dx.shape[1]).baddbmm_(dmiddle, down)
    da = torch.bmm(dmiddle.mT, x.view(count, -1, x.shape[1]))
    db = torch.bmm(dy_KtO.mT, middles[0])
    grads = []
    for k, (a, scaling) in enumerate(zip(factors[::2], scalings, strict=True)):
        rank = a.shape[0]
        grads += [da[k, :rank], db[k, :, :rank] * scaling]
    return dx, grads


def _product(x: Tensor, weight_IO: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight_IO, out=out)
    else:
        torch.addmm(bias, x, weight_IO, out=out)


def _stack(factors: Sequence[Tensor], rank_axis: int, scalings: Sequence[float] = ()) -> Tensor:
    """(K, ..) of A's or B's, ranks padded with zeros to the largest; B's times their scaling."""
    largest = max(factor.shape[rank_axis] for factor in factors)
    padded = []
    for k, factor in enumerate(factors):
        missing = largest - factor.shape[rank_axis]
        whole = F.pad(factor, (0, 0, 0, missing) if rank_axis == 0 else (0, missing))
        padded.append(whole * scalings[k] if scalings else whole)
    return torch.stack(padded)
