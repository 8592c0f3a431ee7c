"""Generation: tuneoff against `transformers.generate` (with PEFT), called per run in batches, keys
and values cached on both sides.

    python -m benchmarks.generation --rounds 5

One thread. Time is CPU seconds of the process; rounds go ours, theirs, ours, theirs, and a ratio is
taken inside each round. Random GPT-2 of 4 blocks, 256 wide, with GPT-2's vocabulary; 32 prompts of
natural lengths (lognormal, mean 25 tokens) in the order in which they come, 24 new tokens each; the
rival pads on the left, batch by batch. No text ends early. Both sides must write the same tokens.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, _wrap
from tuneoff.backbones.families import family_of
from tuneoff.registry import get
from tuneoff.training.generation import Generation, generate_attached

PROMPTS, NEW = 32, 24
RANK, TARGETS = 8, ["c_attn"]


def model() -> Any:
    """A random GPT-2, 4 x 256, 50257 words, whose output layer is its own: tied to what it reads, a
    random model says one word over and over."""
    import transformers as t

    torch.manual_seed(0)
    config = t.GPT2Config(n_embd=256, n_layer=4, n_head=4, tie_word_embeddings=False)
    net = t.GPT2LMHeadModel(config).eval().requires_grad_(False)
    net.config.eos_token_id = net.generation_config.eos_token_id = None
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 2.0 * parameter.shape[-1] ** -0.5)
    return net


def prompts() -> list[list[int]]:
    """Token ids of natural lengths."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(25) - 0.18, 0.6, PROMPTS).round(), 4, 128).astype(int)
    return [rng.integers(1, 50256, length).tolist() for length in lengths]


def theirs(net: Any, texts: Sequence[Sequence[int]], batch: int, beams: int) -> list[list[int]]:
    """`generate` in batches of the given order."""
    found: list[list[int]] = []
    for start in range(0, len(texts), batch):
        part = texts[start : start + batch]
        width = max(map(len, part))
        ids = torch.zeros((len(part), width), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(part):
            ids[row, width - len(text) :], mask[row, width - len(text) :] = torch.tensor(text), 1
        out = net.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=NEW,
            do_sample=False,
            num_beams=beams,
            pad_token_id=0,
        )
        found += out[:, width:].tolist()
    return found


def members(backbone: Backbone, count: int) -> list[dict[str, Any]]:
    """Hooks of LoRA members, as after training."""
    made = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        hooks = get("methods", "lora")(rank=RANK, target_modules=TARGETS).build(backbone, generator)
        for hook in hooks.values():
            torch.nn.init.normal_(hook.B, 0.0, 0.05, generator=generator)
            hook.eval()
        made.append(dict(hooks))
    return made


def with_peft(net: Any, hooks: dict[str, Any]) -> Any:
    """The model under PEFT with the very adapters of a member."""
    import copy

    from peft import LoraConfig, get_peft_model

    scaling = next(iter(hooks.values())).scaling
    config = LoraConfig(
        r=RANK,
        lora_alpha=scaling * RANK,
        target_modules=TARGETS,
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
    )
    adapted = get_peft_model(copy.deepcopy(net), config).eval()
    parameters = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, hook in hooks.items():
            for part in ("A", "B"):
                key = f"base_model.model.{name}.lora_{part}.default.weight"
                parameters[key].copy_(getattr(hook, part))
    return adapted


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def row(
    what: str,
    ours: Callable[[], list[list[list[int]]]],
    rival: Callable[[], list[list[list[int]]]],
    rounds: int,
) -> str:
    """A line of the table; the first pass of each side warms it up and is compared."""
    a, b = ours(), rival()
    pairs = [(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)]
    same = sum(x == y for x, y in pairs)
    assert same >= 0.98 * len(pairs), f"{what}: {same} of {len(pairs)} texts are the same"
    times = [(cpu_seconds(ours), cpu_seconds(rival)) for _ in range(rounds)]
    ratios = [y / x for x, y in times]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return (
        f"| G11 | generation: {what} | 2x | 1.4x over batch 8 | "
        f"**{statistics.median(ratios):.2f}x** ({min(ratios):.2f}-{max(ratios):.2f}; {mine:.2f} s "
        f"v {other:.2f} s) |  |  | {same} of {len(pairs)} texts the same |"
    )


def main() -> None:
    """All rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cohort", action="store_true", help="the rows of a cohort alone")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    torch.set_num_threads(1)
    net, texts = model(), prompts()
    options = BackboneOptions("gpt2 4x256")
    backbone = _wrap(options, "causal_lm", net, None, torch.device("cpu"), frozenset())
    family = family_of(backbone)

    def ours(hooks: list[dict[str, Any]], beams: int = 1) -> list[list[list[int]]]:
        attach(backbone, hooks)
        settings = Generation(max_new_tokens=NEW, num_beams=beams)
        seeds = range(len(hooks))
        return generate_attached(backbone, family, texts, settings, seeds=seeds, end=())

    for batch in () if arguments.cohort else (8, 32):
        print(
            row(
                f"{PROMPTS} prompts, greedy, GPT-2 4x256 (transformers: batch {batch})",
                lambda: ours([{}]),
                lambda batch=batch: [theirs(net, texts, batch, 1)],
                rounds,
            ),
            flush=True,
        )
    if not arguments.cohort:
        print(
            row(
                f"{PROMPTS} prompts, 4 beams, GPT-2 4x256 (transformers: batch 8)",
                lambda: ours([{}], 4),
                lambda: [theirs(net, texts, 8, 4)],
                rounds,
            ),
            flush=True,
        )
    cohort = members(backbone, 4)
    attach(backbone, [])
    adapted = [with_peft(net, hooks) for hooks in cohort]
    for batch in (8, 32):
        print(
            row(
                f"4 LoRA members, {PROMPTS} prompts each, greedy, GPT-2 4x256 "
                f"(transformers + PEFT, one after another: batch {batch})",
                lambda: ours(cohort),
                lambda batch=batch: [theirs(one, texts, batch, 1) for one in adapted],
                rounds,
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
