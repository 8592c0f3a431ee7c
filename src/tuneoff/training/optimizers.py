"""Optimizers over a member's flat parameters. All of them are torch's, transformers' or
bitsandbytes' own; the engine only sets the rate of each step."""

from __future__ import annotations

from typing import Any

import torch

from tuneoff.errors import TuneoffError
from tuneoff.study import Training
from tuneoff.training.parameters import Parameters


def build(training: Training, parameters: Parameters, learning_rate: float) -> Any:
    """A torch optimizer whose groups carry `peak`, the rate that the schedule multiplies.

    Adafactor factors the second moment over rows and columns, so it gets the tensors in their own
    shapes; all others get the flat buffers. Settings of Adafactor are those of transformers'
    Trainer (`scale_parameter=False, relative_step=False`).
    """
    shaped = training.optimizer == "adafactor"
    groups = [
        {
            "params": group.parts if shaped else [group.flat],
            "peak": learning_rate * group.ratio,
            "lr": learning_rate * group.ratio,
            "weight_decay": training.weight_decay if group.decays else 0.0,
        }
        for group in parameters.groups
    ]
    return _make(training, groups)


def _make(training: Training, groups: list[dict[str, Any]]) -> Any:
    name = training.optimizer
    adam = {"betas": training.betas, "eps": training.eps}
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **adam)  # type: ignore[arg-type]
    if name == "sgd":
        return torch.optim.SGD(groups)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, scale_parameter=False, relative_step=False)
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise TuneoffError(
            f"training.optimizer {name!r} needs bitsandbytes: pip install bitsandbytes"
        ) from error
    return {
        "adamw_8bit": bnb.optim.AdamW8bit,
        "paged_adamw": bnb.optim.PagedAdamW32bit,
        "paged_adamw_8bit": bnb.optim.PagedAdamW8bit,
    }[name](groups, **adam)


def set_rate(optimizer: Any, factor: float) -> None:
    """Every group's rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
