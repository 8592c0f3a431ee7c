"""A member's trainable parameters, end to end in one flat buffer per kind of treatment, so that
zeroing, clipping and stepping are one call each, however many small tensors a method has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tuneoff.backbones.sites import Hook


@dataclass
class Group:
    """Parameters with the same rate ratio and the same weight decay."""

    ratio: float
    decays: bool
    flat: nn.Parameter
    """(n,) values; `flat.grad` is (n,) too. The hooks' parameters and gradients are views."""
    parts: list[nn.Parameter]


class Parameters:
    """All trainable parameters of one member; `names` are `<site>::<parameter>`."""

    def __init__(self, hooks: Mapping[str, Hook]):
        self.named: dict[str, nn.Parameter] = {}
        self.aliases: dict[str, str] = {}
        treatment: dict[tuple[float, bool], list[nn.Parameter]] = {}
        first: dict[int, str] = {}
        for site, hook in hooks.items():
            for name, parameter in hook.named_parameters():
                if not parameter.requires_grad:
                    continue
                full = f"{site}::{name}"
                if id(parameter) in first:  # tied weights are one parameter under two names
                    self.aliases[full] = first[id(parameter)]
                    continue
                first[id(parameter)] = full
                self.named[full] = parameter
                key = (hook.learning_rate_ratio(name), hook.decays(name))
                treatment.setdefault(key, []).append(parameter)
        self.groups = [
            _flatten(ratio, decays, parts) for (ratio, decays), parts in treatment.items()
        ]

    @property
    def count(self) -> int:
        """Trainable parameters; tied ones once."""
        return sum(group.flat.numel() for group in self.groups)

    def zero_gradients(self) -> None:
        """Forget the gradients, and point the parameters at their place in the flat buffers."""
        for group in self.groups:
            assert group.flat.grad is not None
            group.flat.grad.zero_()

    def gradient_norm(self) -> Tensor:
        """() 2-norm over all gradients, as `torch.nn.utils.clip_grad_norm_` takes it."""
        norms: list[Tensor] = [
            torch.linalg.vector_norm(g.flat.grad) for g in self.groups if g.flat.grad is not None
        ]
        return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))

    def scale_gradients(self, factor: Tensor | float) -> None:
        """Multiply all gradients."""
        for group in self.groups:
            assert group.flat.grad is not None
            group.flat.grad.mul_(factor)

    def snapshot(self) -> list[Tensor]:
        """A copy of the flat values."""
        return [group.flat.detach().clone() for group in self.groups]

    def restore(self, snapshot: list[Tensor]) -> None:
        """Put the values of a snapshot back."""
        with torch.no_grad():
            for group, values in zip(self.groups, snapshot, strict=True):
                group.flat.copy_(values)

    def tensors(self) -> dict[str, Tensor]:
        """A copy of every parameter by name, on the CPU; tied ones under each of their names."""
        tensors = {name: p.detach().cpu().clone() for name, p in self.named.items()}
        return tensors | {alias: tensors[name] for alias, name in self.aliases.items()}


def _flatten(ratio: float, decays: bool, parts: list[nn.Parameter]) -> Group:
    dtypes = {part.dtype for part in parts}
    assert len(dtypes) == 1, f"trainable parameters of several types: {dtypes}"
    flat = nn.Parameter(torch.cat([part.detach().reshape(-1) for part in parts]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for part in parts:
        end = start + part.numel()
        part.data = flat.data[start:end].view(part.shape)
        part.grad = flat.grad[start:end].view(part.shape)
        part.requires_grad_(True)
        start = end
    return Group(ratio, decays, flat, parts)
