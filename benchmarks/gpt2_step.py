"""Training steps of our GPT-2 against transformers', on texts of natural lengths.

    python -m benchmarks.gpt2_step --out docs/benchmarks.md
    python -m benchmarks.gpt2_step --layers 2 --width 128 --vocabulary 500 --rounds 2   # a look

Language modelling at GPT-2 small's shape with random weights; lengths are lognormal (sigma 0.75),
their mean a quarter of the maximum. Theirs: transformers' GPT-2 (and PEFT), batches padded to their
longest text; ours: the engine's steps, and our model in the very loop that theirs runs in. Same
batches, AdamW, clipping and rates; dropout is off, so that both must reach the same losses. One
thread; seconds are CPU seconds of the process; sides take turns, and a ratio is taken inside each
round.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import platform
import statistics
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch import Tensor

from benchmarks.page import with_section
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.data.batches import batches
from tuneoff.registry import get
from tuneoff.study import Training
from tuneoff.study_settings import Evaluation
from tuneoff.training import schedules
from tuneoff.training.features import Features
from tuneoff.training.loop import Cohort
from tuneoff.training.outcome import Limits, Material

RATES = {"full": 5e-5, "lora": 2e-4}
LORA = {"rank": 8, "target_modules": "qkv"}


@dataclass
class Side:
    """One way to train: a step on the examples of a batch gives the loss."""

    name: str
    step: Callable[[np.ndarray], float]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def run(self, batches: list[np.ndarray]) -> None:
        """A round."""
        gc.collect()
        started = time.process_time()
        self.losses += [self.step(batch) for batch in batches]
        self.seconds.append(time.process_time() - started)


def folder_of(args: argparse.Namespace, root: Path) -> Path:
    """A random GPT-2 on disk, with a tokenizer that stands in: token ids are drawn."""
    import transformers as t
    from tokenizers import Tokenizer, models

    config = t.GPT2Config(
        n_layer=args.layers, n_embd=args.width, n_head=max(1, args.width // 64),
        vocab_size=args.vocabulary, n_positions=args.longest,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    t.GPT2LMHeadModel(config).save_pretrained(root)
    words = Tokenizer(models.WordLevel({"w": 0}, unk_token="w"))
    t.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w").save_pretrained(root)
    return root


def texts(args: argparse.Namespace) -> Features:
    """Token ids without padding, each token's target the next one."""
    rng = np.random.default_rng(0)
    sigma, mean = 0.75, args.longest / 4
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, args.batch * args.rounds * args.steps)
    lengths = np.clip(drawn.round(), 8, args.longest).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(1, args.vocabulary, offsets[-1]).astype(np.int32)
    targets = np.roll(tokens, -1).astype(np.int64)
    targets[offsets[1:] - 1] = -100
    return Features(tokens, offsets, targets, form="token")


def padded(data: Features, batch: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and labels, padded to the longest text of the batch."""
    rows = [torch.from_numpy(data.tokens[data.offsets[i] : data.offsets[i + 1]]) for i in batch]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).long()
    mask = (torch.arange(ids.shape[1]) < torch.tensor([len(r) for r in rows])[:, None]).long()
    return ids, mask, ids.masked_fill(mask == 0, -100)


def engine(folder: Path, data: Features, method: str, args: argparse.Namespace) -> Cohort:
    """The engine's own loop over our GPT-2."""
    options = BackboneOptions(str(folder), implementation="own")
    backbone = load(options, "causal_lm")
    task = get("tasks", "language_modelling")()
    spec: Any = SimpleNamespace(
        method=SimpleNamespace(
            settings=get("methods", method)(**(LORA if method == "lora" else {}))
        ),
        training=Training(epochs=100, batch_size=args.batch, weight_decay=0.0, dropout=0.0),
        seed=0,
        learning_rate=RATES[method],
        kind="run",
        evaluation=Evaluation(),
        run_id=method,
        task=SimpleNamespace(
            all_metrics={"loss": get("metrics", "loss")()},
            primary_metric="loss",
            selection_metric=lambda _: "loss",
        ),
    )
    cohort = Cohort([spec], Material(backbone, task, {"train": data}, ()), Limits())
    cohort.begin()
    return cohort


def plain_loop(model: Any, data: Features, cohort: Cohort) -> Callable[[np.ndarray], float]:
    """The usual loop, with the engine's rates: zero, loss, backward, clip, step."""
    member = cohort.members[0]
    parameters = [p for p in model.parameters() if p.requires_grad]
    training, steps, done = member.training, member.steps, 0
    optimizer = torch.optim.AdamW(
        parameters,
        lr=member.spec.learning_rate,
        betas=training.betas,
        eps=training.eps,
        weight_decay=0.0,
    )
    model.train()

    def step(batch: np.ndarray) -> float:
        nonlocal done
        ids, mask, labels = padded(data, batch)
        optimizer.zero_grad()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm or torch.inf)
        factor = schedules.factor(training, done, steps)
        optimizer.param_groups[0]["lr"] = member.spec.learning_rate * factor
        optimizer.step()
        done += 1
        return float(loss.detach())

    return step


def sides(folder: Path, data: Features, method: str, args: argparse.Namespace) -> Iterator[Side]:
    """Theirs, our model in their loop, and the engine, from the same weights."""
    import transformers as t

    from tuneoff.backbones.gpt2 import GPT2LMHeadModel

    cohort = engine(folder, data, method, args)
    theirs: Any = t.GPT2LMHeadModel.from_pretrained(folder)
    ours: Any = GPT2LMHeadModel.from_pretrained(str(folder))
    if method == "lora":
        theirs, ours = (_with_lora(model, cohort) for model in (theirs, ours))
    yield Side("theirs", plain_loop(theirs, data, cohort))
    yield Side("ours in their loop", plain_loop(ours, data, cohort))
    yield Side("the engine", lambda _: next(iter(cohort.step().values())))


def _with_lora(model: Any, cohort: Cohort) -> Any:
    """PEFT's LoRA with the engine's initial numbers."""
    from peft import get_peft_model

    backbone = cohort.material.backbone
    method: Any = cohort.members[0].spec.method.settings
    config = copy.deepcopy(method.peft_config(backbone))
    config.inference_mode = False
    made = get_peft_model(model, config)
    own = dict(made.named_parameters())
    with torch.no_grad():
        for name, hook in cohort.members[0].hooks.items():
            for part in ("A", "B"):
                into = own[f"base_model.model.{name}.lora_{part}.default.weight"]
                into.copy_(hook.get_parameter(part))
    return made


def measured(folder: Path, data: Features, method: str, args: argparse.Namespace) -> list[str]:
    """Rows of the table."""
    theirs, *ours = found = list(sides(folder, data, method, args))
    order = list(batches(len(data.lengths), args.batch, seed=0, epoch=0))
    for round_ in range(args.rounds):
        for side in found:
            side.run(order[round_ * args.steps : (round_ + 1) * args.steps])
            print(method, round_, side.name, f"{side.seconds[-1]:.2f} s", flush=True)
    rows = []
    for side in ours:
        apart = float(np.abs(np.array(side.losses) - theirs.losses).max())
        assert apart < 1e-3, f"{method}, {side.name}: losses differ by {apart}"
        ratios = [b / a for a, b in zip(side.seconds, theirs.seconds, strict=True)]
        a, b = (statistics.median(s.seconds) / args.steps for s in (side, theirs))
        rows.append(
            f"| {method} | {side.name} | **{statistics.median(ratios):.2f}x** "
            f"({min(ratios):.2f}-{max(ratios):.2f}) | {a:.2f} s v {b:.2f} s | {apart:.0e} |"
        )
    return rows


def page(args: argparse.Namespace, rows: list[str], data: Features) -> str:
    """The section of docs/benchmarks.md."""
    import peft
    import transformers

    per_batch = [
        data.lengths[batch] for batch in batches(len(data.lengths), args.batch, seed=0, epoch=0)
    ]
    real = sum(int(lengths.sum()) for lengths in per_batch)
    computed = sum(int(lengths.max()) * len(lengths) for lengths in per_batch)
    text = f"""Made by `python -m benchmarks.gpt2_step --out docs/benchmarks.md`: language modelling
    at {args.layers}x{args.width}, vocabulary {args.vocabulary}, batch {args.batch}, lengths
    lognormal (mean {real / len(data.lengths):.0f}, at most {args.longest}; padded,
    {computed / real:.2f} times as many tokens), {args.rounds} rounds of {args.steps} step(s),
    taking turns; one thread of {platform.machine()}, torch {torch.__version__},
    transformers {transformers.__version__}, peft
    {peft.__version__}. LoRA: rank {LORA["rank"]} on query, key and value. CPU seconds per step,
    ours v theirs; the greatest difference of losses. The goal is 2x. A round has
    other batches, so that a range is mostly that of their padding."""
    rows = [
        "| method | ours | ratio (median, range) | a step | losses |",
        "| --- " * 5 + "|",
        *rows,
    ]
    paragraph = textwrap.fill(" ".join(text.split()), 100)
    return "\n".join(["## Our GPT-2 against transformers' GPT-2", paragraph, "", *rows, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--longest", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="a round has so many")
    parser.add_argument("--methods", default="full,lora")
    parser.add_argument("--out", type=Path, help="a page whose section is replaced, or added")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = texts(args), []
    with tempfile.TemporaryDirectory() as root:
        folder = folder_of(args, Path(root))
        for method in args.methods.split(","):
            found = measured(folder, data, method, args)
            print("\n".join(found), flush=True)
            rows += found
            gc.collect()  # the next method's models need the memory
    section = page(args, rows, data)
    print(section)
    if args.out:
        args.out.write_text(with_section(args.out.read_text("utf-8"), section), "utf-8")


if __name__ == "__main__":
    main()
