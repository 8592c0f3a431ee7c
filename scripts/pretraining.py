"""Training a small language model from nothing in minutes, on one CPU core or on a GPU.

Shared by the scripts that pretrain the built-in decoder and encoder-decoder: an optimizer that
learns much from few steps, a softmax over a part of the vocabulary, a loop that goes on where it
was stopped, and the folder in Hugging Face layout.
Axes: N hidden rows, D hidden size, V vocabulary, S scored tokens, R x C a matrix.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LIMITS = """
## Limits

- It knows the English of novels, mostly of the 19th century. "Movie", "computer" and whatever else
  came later falls into pieces that mean little to it.
- Novels of that time carry its prejudices about sex, class, race and faith, and the model learned
  them.
- It is tiny, and saw about as much text as a person reads in a few months. What it writes looks
  like English here and there; it knows few facts.
- Dropout is 0.1 in `config.json` for fine-tuning; pretraining used none.
"""


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by Newton-Schulz iterations, in fp32, shape by shape.

    Source: Jordan et al. 2024, "Muon"; the size of a step is matched to AdamW's as in Liu et al.
    2025, arXiv:2502.16982.
    """

    def __init__(self, matrices: Any, lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # noqa: ARG002 - the interface has it
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for matrix in group["params"]:
                shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                updates = []
                for matrix in matrices:
                    state = self.state[matrix]
                    if not state:
                        state["momentum"] = torch.zeros_like(matrix)
                    state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                    updates.append(matrix.grad.lerp(state["momentum"], group["momentum"]))
                size = 0.2 * max(shape) ** 0.5 * group["lr"]
                for matrix, update in zip(matrices, orthogonal(torch.stack(updates)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=size)


def orthogonal(stack_NRC: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly: five Newton-Schulz iterations of fifth order."""
    tall = stack_NRC.shape[1] > stack_NRC.shape[2]
    x = stack_NRC.mT if tall else stack_NRC
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class SampledSoftmax:
    """Cross entropy against a part of the vocabulary: the `frequent` tokens, which stand for
    themselves, and a uniform sample of the others, which stands for all of them; the right token
    is always there. Over the whole vocabulary where `sampled` is 0."""

    def __init__(self, counts_V: np.ndarray, frequent: int, sampled: int):
        order = np.argsort(-counts_V, kind="stable")
        frequent = min(frequent, len(order) // 4)
        self.frequent = torch.from_numpy(order[:frequent].copy())
        self.seldom, self.sampled = order[frequent:], sampled
        self.is_seldom = torch.zeros(len(counts_V), dtype=torch.bool)
        self.is_seldom[torch.from_numpy(self.seldom.copy())] = True

    def shown(self, rng: np.random.Generator) -> Tensor:
        """(S,) the tokens that are scored: the frequent ones, and a fresh sample of the others."""
        return torch.cat([self.frequent, torch.from_numpy(rng.choice(self.seldom, self.sampled))])

    def loss(
        self,
        hidden_ND: Tensor,
        table_VD: Tensor,
        truth_M: Tensor,
        rng: np.random.Generator | None = None,
        *,
        shown_S: Tensor | None = None,
        bias_V: Tensor | None = None,
        row_M: Tensor | None = None,
    ) -> Tensor:
        """Mean over the right tokens, in nats.

        rng: what the sample is drawn with, or shown_S: one that was; bias_V: added to the scores;
        row_M: the hidden row that each right token is read from, its own when not given.
        """
        if not self.sampled:
            return F.cross_entropy(hidden_ND @ table_VD.T, truth_M)
        if shown_S is None:
            assert rng is not None
            shown_S = self.shown(rng)
        device = hidden_ND.device
        shown_S = shown_S.to(device)
        extra_S = torch.zeros(len(shown_S), device=device)
        extra_S[len(self.frequent) :] = math.log(len(self.seldom) / self.sampled)
        if bias_V is not None:
            extra_S = extra_S + bias_V[shown_S]
        total_M = (hidden_ND @ table_VD[shown_S].T + extra_S).float().logsumexp(1)
        if row_M is not None:
            total_M, hidden_ND = total_M[row_M], hidden_ND[row_M]
        own_M = (hidden_ND * table_VD[truth_M]).sum(1).float()
        if bias_V is not None:
            own_M = own_M + bias_V[truth_M]
        seldom_M = self.is_seldom.to(device)[truth_M]
        return (torch.where(seldom_M, torch.logaddexp(total_M, own_M), total_M) - own_M).mean()


def sinusoids(positions: int, hidden: int) -> Tensor:
    """(positions, hidden) sines and cosines, by which positions that were seldom trained still
    resemble their neighbours. Source: Vaswani et al. 2017, section 3.5."""
    place = torch.arange(positions)[:, None]
    wave = torch.exp(-math.log(10000.0) * torch.arange(0, hidden, 2) / hidden)
    return torch.cat([torch.sin(place * wave), torch.cos(place * wave)], 1)


def optimizers(
    matrices: list[Any], table: Any, others: list[Any], rates: dict[str, float], decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices; AdamW for the token table, which moves slowly because counting
    has given it its meaning, and for the rest."""
    opts: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=rates["matrix"], weight_decay=decay),
        torch.optim.AdamW(
            [table], lr=rates["table"], betas=(0.9, 0.99), eps=1e-7, weight_decay=0, fused=True
        ),
        torch.optim.AdamW(others, lr=rates["other"], betas=(0.9, 0.98), weight_decay=0, fused=True),
    ]
    for optimizer in opts:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return opts


def rate_at(progress: float, warmup: float = 0.02) -> float:
    """Share of the peak rate: up in a line, then down in a line to zero."""
    return min(progress / warmup, max(0.0, (1 - progress) / (1 - warmup)))


def train(
    model: torch.nn.Module,
    opts: list[torch.optim.Optimizer],
    losses_of: Callable[[np.random.Generator, float], tuple[dict[str, Tensor], int]],
    held_out: Callable[[], dict[str, float]],
    work: Path,
    minutes: float,
    steps: int | None,
    seed: int,
    warmup: float = 0.02,
) -> dict[str, Any]:
    """Train to the end of the budget; returns the loss curve and what was spent.

    losses_of(rng, progress): of a fresh batch `loss`, which is trained, and parts of it to be kept
    beside; and its tokens; progress from 0 to 1.
    minutes: of this process's computing, so that a machine that does other work too gives as much.
    The state is kept in `work` every minute, and taken up from there.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    step, tokens, before = 0, 0, 0.0
    curve: list[dict[str, float]] = []
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(opts, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, tokens, before, curve = (state[name] for name in ("step", "tokens", "spent", "curve"))
        print(f"continuing at step {step}, {before / 60:.1f} min done", flush=True)
    began = saved_at = clock()
    losses: dict[str, list[float]] = {}
    while True:
        spent = before + clock() - began
        progress = step / steps if steps else spent / (60 * minutes)
        seen = len(losses.get("loss", ()))
        if (seen >= 50 and step % 100 == 0) or progress >= 1:
            point = {"step": step, "tokens": tokens, "seconds": round(spent, 1)}
            point |= {name: round(float(np.mean(some)), 4) for name, some in losses.items()}
            if step % 500 == 0 or progress >= 1:
                point |= held_out()
            curve.append(point)
            losses = {}
            left = spent / max(progress, 1e-9) - spent
            print(f"{json.dumps(point)}  left {left / 60:.1f} min", flush=True)
        if progress >= 1:
            break
        for optimizer in opts:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate_at(progress, warmup)
        # Each step draws from its own seed: a continued run sees what an unbroken one sees.
        parts, count = losses_of(np.random.default_rng([seed, step]), progress)
        parts["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in opts:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, part in parts.items():
            losses.setdefault(name, []).append(part.item())
        step, tokens = step + 1, tokens + count
        if clock() - saved_at > 60:
            saved_at = clock()
            spent = before + saved_at - began
            state = {"model": model.state_dict(), "step": step, "tokens": tokens, "spent": spent}
            state |= {"optimizers": [o.state_dict() for o in opts], "curve": curve}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    return {
        "steps": step,
        "tokens_seen": tokens,
        "seconds": round(spent, 1),
        "device": next(model.parameters()).device.type,
        "threads": torch.get_num_threads(),
        "curve": curve,
    }


def save_folder(
    model: Any, tokenizer: Any, record: dict[str, Any], about: str, folder: Path
) -> None:
    """Write the model beside its place in fp16, with its README, then move its files in."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.cpu().eval().to(torch.float16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    facts = part / "tokenizer_config.json"  # without what says where it was loaded from
    kept = json.loads(facts.read_text())
    kept = {name: kept[name] for name in kept if name not in ("is_local", "local_files_only")}
    facts.write_text(json.dumps(kept, indent=2) + "\n")
    (part / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    (part / "README.md").write_text(about + LIMITS, "utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    for file in part.iterdir():
        file.chmod(0o644)
        file.replace(folder / file.name)
    part.rmdir()
