"""Is the built-in encoder worth having? Fine-tune it, and the same network from random weights.

    python scripts/check_encoder.py --data ../shared/data/sst5

Three ways are compared on a folder of train.csv, validation.csv and test.csv (text, label):

    random       all weights trained, from random ones
    pretrained   all weights trained, from the built-in encoder
    last_layer   the built-in encoder frozen, a linear head on its pooled features

Each takes the learning rate of its grid whose validation accuracy, averaged over the seeds, is
best. The epoch is chosen on validation too, and a run's test figure is that epoch's. Finished runs
are kept in --out, so a stopped check goes on where it was.

    python scripts/check_encoder.py --picture docs/images/encoder_loss.svg

draws the loss curve that pretraining wrote into the folder, and does nothing else.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

FOLDER = Path(__file__).resolve().parents[1] / "src/tuneoff/backbones/builtin/tuneoff-mini-bert"
RATES = {
    "random": (1e-4, 3e-4, 1e-3),
    "pretrained": (1e-4, 3e-4, 1e-3),
    "last_layer": (1e-3, 3e-3, 1e-2),
}


@dataclass(frozen=True)
class Part:
    """One split: token ids of each row without padding, and its class."""

    ids: list[list[int]]
    labels: Tensor


def read_part(file: Path, tokenizer, longest: int, classes: list[str]) -> Part:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=longest)["input_ids"]
    return Part(ids, torch.tensor([classes.index(row["label"]) for row in rows]))


def batches(part: Part, size: int, generator: torch.Generator | None) -> list[Tensor]:
    """Row numbers by batch; shuffled, yet rows of like length share a batch, to spare padding."""
    count = len(part.ids)
    if generator is None:
        order = sorted(range(count), key=lambda i: len(part.ids[i]))
        return list(torch.tensor(order).split(256))
    order = torch.randperm(count, generator=generator).tolist()
    pool = 20 * size
    chosen: list[Tensor] = []
    for low in range(0, count, pool):
        near = sorted(order[low : low + pool], key=lambda i: len(part.ids[i]))
        chosen += list(torch.tensor(near).split(size))
    return [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()]


def padded(part: Part, rows: Tensor) -> dict[str, Tensor]:
    texts = [part.ids[i] for i in rows.tolist()]
    width = max(map(len, texts))
    ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def accuracy(model, part: Part) -> float:
    model.eval()
    right = 0
    for rows in batches(part, 256, None):
        right += int((model(**padded(part, rows)).logits.argmax(1) == part.labels[rows]).sum())
    return right / len(part.ids)


def build(way: str, folder: Path, classes: int, seed: int):
    torch.manual_seed(seed)
    if way == "random":
        config = AutoConfig.from_pretrained(folder, num_labels=classes)
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=classes, dtype=torch.float32
    )
    if way == "last_layer":
        model.bert.requires_grad_(False)
    return model


def fine_tune(
    way: str, rate: float, seed: int, parts: dict[str, Part], args: argparse.Namespace
) -> dict:
    classes = int(parts["train"].labels.max()) + 1
    model = build(way, args.model, classes, seed)
    generator = torch.Generator().manual_seed(seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, fused=True)
    total = args.epochs * len(batches(parts["train"], args.batch, generator))
    step, best, seconds = 0, {"validation": -1.0}, 0.0
    for epoch in range(1, args.epochs + 1):
        model.train()
        began = time.perf_counter()
        for rows in batches(parts["train"], args.batch, generator):
            progress = step / total
            for group in optimizer.param_groups:
                group["lr"] = rate * min(progress / 0.1, (1 - progress) / 0.9)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                logits = model(**padded(parts["train"], rows)).logits
            loss = F.cross_entropy(logits.float(), parts["train"].labels[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
        seconds += time.perf_counter() - began
        score = accuracy(model, parts["validation"])
        print(f"  {way} {rate:g} seed {seed} epoch {epoch}: {loss:.3f} {score:.4f}", flush=True)
        if score > best["validation"]:
            test = accuracy(model, parts["test"])
            best = {"validation": score, "test": test, "epoch": epoch}
    return best | {"train_seconds": round(seconds, 1)}


def draw_curve(folder: Path, picture: Path) -> None:
    """The loss of pretraining against the tokens seen, in training and on the held-out books."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tuneoff"  # the same curve gives the same file
    from matplotlib import pyplot

    record = json.loads((folder / "training.json").read_text())
    curve: list[dict] = []
    for phase in record["phases"].values():
        before = curve[-1]["tokens"] if curve else 0
        curve += [point | {"tokens": before + point["tokens"]} for point in phase["curve"]]
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    series = (
        ("token_loss", "training, last 50 steps", "#9aa5b1"),
        ("token_loss_64", "held-out books, rows of 64", "#0b6e99"),
        ("token_loss_256", "held-out books, rows of 256", "#d9730d"),
    )
    for name, label, colour in series:
        points = [(p["tokens"] / 1e6, p[name]) for p in curve if name in p]
        axes.plot(*zip(*points, strict=True), label=label, color=colour)
    axes.set(xlabel="million tokens seen", ylabel="masked-token loss, nats")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder of the three CSV files")
    what.add_argument("--picture", type=Path, help="draw the loss curve into this file")
    parser.add_argument("--model", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=Path("build/check_encoder.json"))
    parser.add_argument("--ways", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--longest", type=int, default=64, help="tokens that a row may have")
    parser.add_argument("--rows", type=int, help="train on so many rows, drawn by chance")
    parser.add_argument("--bf16", action="store_true", help="train in bf16 autocast")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.picture:
        draw_curve(args.model, args.picture)
        return
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with (args.data / "train.csv").open(encoding="utf-8", newline="") as stream:
        classes = sorted({row["label"] for row in csv.DictReader(stream)})
    parts = {
        name: read_part(args.data / f"{name}.csv", tokenizer, args.longest, classes)
        for name in ("train", "validation", "test")
    }
    if args.rows:
        whole = parts["train"]
        drawn = torch.randperm(len(whole.ids), generator=torch.Generator().manual_seed(0))
        kept = drawn[: args.rows].tolist()
        parts["train"] = Part([whole.ids[i] for i in kept], whole.labels[kept])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict] = json.loads(args.out.read_text()) if args.out.exists() else {}

    weights = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()[:8]

    def run(way: str, rate: float, seed: int) -> dict:
        key = f"{weights} {args.data.name} {way} {rate:g} seed {seed} epochs {args.epochs}"
        key += (" bf16" if args.bf16 else "") + (f" rows {args.rows}" if args.rows else "")
        if key not in runs:
            runs[key] = fine_tune(way, rate, seed, parts, args)
            part = args.out.with_suffix(".part")
            part.write_text(json.dumps(runs, indent=1) + "\n")
            part.replace(args.out)
        return runs[key]

    print("| way | learning rate | validation | test, mean ± sd | n | seconds a run |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for way in args.ways:
        tried = {rate: [run(way, rate, seed) for seed in range(args.seeds)] for rate in RATES[way]}
        rate = max(tried, key=lambda rate: sum(figures["validation"] for figures in tried[rate]))
        done = tried[rate]
        dev, test, seconds = (
            [figures[name] for figures in done] for name in ("validation", "test", "train_seconds")
        )
        spread = statistics.stdev(test) if len(test) > 1 else 0.0
        print(
            f"| {way} | {rate:g} | {statistics.mean(dev):.1%} | {statistics.mean(test):.1%} ± "
            f"{spread:.1%} | {len(test)} | {statistics.mean(seconds):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
