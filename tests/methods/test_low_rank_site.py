"""Every form of the fused low-rank site gives the same numbers as plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tuneoff.backbones.sites import Site
from tuneoff.methods.hooks import low_rank
from tuneoff.methods.hooks.low_rank import LowRank

EXACT = 1e-12


def a_site(conv: bool, dtype: torch.dtype = torch.float64, bias: bool = True) -> Site:
    torch.manual_seed(0)
    module: nn.Module = Conv1D(20, 12) if conv else nn.Linear(12, 20, bias=bias)
    if conv:
        nn.init.normal_(module.bias)  # type: ignore[arg-type]
    return Site("block.0.query", module.to(dtype).requires_grad_(False), "linear", "query", 0)


def some_hooks(site: Site, ranks: list[int]) -> list[LowRank]:
    made = []
    for k, rank in enumerate(ranks):
        hook = LowRank(site, rank, 1.5 + k, 0.0, 1.0, torch.Generator().manual_seed(k))
        nn.init.normal_(hook.B, generator=torch.Generator().manual_seed(k + 50))
        made.append(hook.train())
    return made


def naive(site: Site, x: Tensor, bounds: list[tuple[int, int]], hooks: list[LowRank]) -> Tensor:
    weight = site.module.weight.t() if site.transposed else site.module.weight  # type: ignore[operator, union-attr]
    bias = 0 if site.bias is None else site.bias
    parts = [
        x[a:b] @ (weight + hook.scaling * hook.B @ hook.A).t() + bias
        for (a, b), hook in zip(bounds, hooks, strict=True)
    ]
    return torch.cat(parts)


def gradients(y: Tensor, x: Tensor, hooks: list[LowRank]) -> list[Tensor]:
    y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape))
    found = [p.grad for hook in hooks for p in (hook.A, hook.B)]
    grads = [g.clone() for g in [*found, x.grad] if g is not None]
    for tensor in [x, *(p for hook in hooks for p in (hook.A, hook.B))]:
        tensor.grad = None
    return grads


@pytest.mark.parametrize("form", ["added", "merged", "stacked"])
@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("needs_dx", [True, False])
@pytest.mark.parametrize("padded", [False, True])
def test_forms_equal_autograd(
    form: str, conv: bool, needs_dx: bool, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_rank, "_form", lambda *_: form)
    site = a_site(conv)
    even = form == "stacked"
    bounds = [(0, 4), (4, 8), (8, 12)] if even else [(0, 3), (3, 4), (4, 12)]
    hooks = some_hooks(site, [2, 5, 3])
    site.hooks = list(hooks)
    shape = (12, 7, 12) if padded else (12, 12)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=needs_dx)
    y, expected = site(x, bounds), naive(site, x, bounds, hooks)
    assert y.shape == expected.shape
    assert float((y - expected).detach().abs().max()) < EXACT
    ours, others = gradients(y, x, hooks), gradients(expected, x, hooks)
    assert len(ours) == len(others) == 6 + needs_dx
    for one, other in zip(ours, others, strict=True):
        assert float((one - other).abs().max()) < EXACT * 100
    with torch.no_grad():  # negative control
        hooks[1].B[0, 0] += 1e-3
        assert float((site(x, bounds) - expected).abs().max()) > 1e-6


def test_without_a_bias() -> None:
    site = a_site(conv=False, bias=False)
    hooks = some_hooks(site, [4])
    site.hooks = list(hooks)
    for rows in (1, 40):  # added, merged
        x = torch.randn(rows, 12, dtype=torch.float64)
        expected = naive(site, x, [(0, rows)], hooks)
        assert float((site(x, [(0, rows)]) - expected).detach().abs().max()) < EXACT


def test_the_form_depends_on_rows_alone() -> None:
    site = a_site(conv=False)
    few, many = torch.zeros(2, 12), torch.zeros(50, 12)
    assert low_rank._form(site, few, [(0, 2)]) == "added"
    assert low_rank._form(site, many, [(0, 50)]) == "merged"
    assert low_rank._form(site, many.bfloat16(), [(0, 50)]) == "added"


def test_one_node_for_all_members() -> None:
    site = a_site(conv=False)
    site.hooks = list(some_hooks(site, [2, 2]))
    x = torch.randn(6, 12, dtype=torch.float64, requires_grad=True)
    y = site(x, [(0, 3), (3, 6)])
    assert type(y.grad_fn).__name__ == "LowRankSiteBackward"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_16_bits_and_keeps_float32_gradients(dtype: torch.dtype) -> None:
    """As plain autograd under the same autocast; not as in float32."""
    site = a_site(conv=False, dtype=torch.float32)
    hooks = some_hooks(site, [4, 4])
    site.hooks = list(hooks)
    bounds = [(0, 8), (8, 16)]
    x = torch.randn(16, 12, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        y = site(x, bounds)
        plain = site.member_by_member(x, bounds)
    assert y.dtype == plain.dtype == dtype
    exact = naive(site, x, bounds, hooks)
    scale = float(exact.detach().abs().max())
    eps = torch.finfo(dtype).eps
    assert float((y.float() - plain.float()).detach().abs().max()) < 4 * eps * scale
    assert float((y.float() - exact).detach().abs().max()) > 0
    ours, others = gradients(y.float(), x, hooks), gradients(exact, x, hooks)
    for one, other in zip(ours, others, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).abs().max()) < 8 * eps * float(other.abs().max())


def test_a_16_bit_backbone_keeps_float32_factors() -> None:
    """Without autocast, PEFT's way: the update in float32, the result as the backbone's."""
    site = a_site(conv=False, dtype=torch.bfloat16)
    hooks = some_hooks(site, [4])
    site.hooks = list(hooks)
    x = torch.randn(5, 12).bfloat16()
    y = site(x, [(0, 5)])
    assert y.dtype == torch.bfloat16
    assert hooks[0].A.dtype == torch.float32
    expected = (
        site.frozen(x).float() + hooks[0].scaling * x.float() @ hooks[0].A.t() @ hooks[0].B.t()
    )
    assert float((y.float() - expected).detach().abs().max()) < 0.02 * float(
        expected.detach().abs().max()
    )
