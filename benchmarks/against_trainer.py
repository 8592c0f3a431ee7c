"""tuneoff against Hugging Face Trainer + PEFT (+ bitsandbytes): same model, data, batches, epochs,
optimizer and precision; both must reach the same losses.

    python -m benchmarks.against_trainer --work /tmp/bench --out docs/benchmarks.md
    python -m benchmarks.against_trainer --work /tmp/bench --rows G1,G3 --rounds 5

One thread each. Time is CPU seconds of the process, so that a busy machine matters less; rounds go
ours, theirs, ours, theirs, and a ratio is taken inside each round. Loading is timed on neither
side. Where a row has K runs, Trainer's time is K times that of one run of each kind, measured in
the same round: its runs share nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from benchmarks import floor, page, rival
from benchmarks.workloads import bert_folder, features, material, run
from tuneoff.training.loop import Cohort
from tuneoff.training.outcome import Limits, Material, Prefixes

ALL = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


@dataclass
class Row:
    """One line of the table. `ours` and `theirs` are CPU seconds per round."""

    goal_id: str
    what: str
    goal: str
    prototype: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    by_length: list[float] = field(default_factory=list)
    share_of_floor: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.ours, self.theirs, strict=True)]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def train_ours(stuff: Material, runs: list[Any]) -> float:
    """A cohort's whole training, caches and set-up included, with nothing kept from an earlier."""
    fresh = replace(stuff, prefixes=Prefixes())

    def work() -> None:
        cohort = Cohort(runs, fresh, Limits())
        cohort.begin()
        while cohort.active:
            cohort.step()
            cohort.evaluate_due()

    return cpu_seconds(work)


def train_theirs(
    folder: Path, data: Any, method: str, epochs: float, batch: int, rate: float, **kwargs: Any
) -> float:
    """One Trainer run."""
    options = {name: kwargs.pop(name) for name in ("by_length",) if name in kwargs}
    net = rival.model(folder, method, **kwargs)
    runner = rival.trainer(net, data, epochs, batch, rate, 0, folder, **options)
    return cpu_seconds(runner.train)


def same_losses(folder: Path, stuff: Material, method: str, batch: int, steps: int = 6) -> float:
    """Greatest difference of the losses of both sides over some steps, from the same weights."""
    spec = run(
        method,
        batch_size=batch,
        rate=1e-4,
        **({"target_modules": ("query", "value")} if method == "lora" else {}),
    )
    cohort = Cohort([spec], stuff, Limits())
    net = rival.model(folder, method)
    base = net.base_model.model if method == "lora" else net
    hooks = cohort.members[0].hooks
    with torch.no_grad():
        own = dict(net.named_parameters())
        for name, hook in hooks.items():
            for part, value in hook.named_parameters():
                if part in ("A", "B"):
                    own[f"base_model.model.{name}.lora_{part}.default.weight"].copy_(value)
        head = base.classifier
        head = head.modules_to_save["default"] if hasattr(head, "modules_to_save") else head
        head.weight.copy_(hooks["classifier"].weight)
        head.bias.copy_(hooks["classifier"].bias)
    logged = rival.trainer(net, stuff.features["train"], 1, batch, 1e-4, 0, folder, log=True)
    logged.train()
    theirs = rival.losses(logged)[:steps]
    cohort.begin()
    ours = [cohort.step()[spec.run_id] for _ in range(min(steps, len(theirs)))]
    return float(np.abs(np.array(ours) - theirs[: len(ours)]).max())


def lora_row(
    root: Path, rounds: int, goal: str, shape: str, batch: int, target: str, before: str
) -> Row:
    row = Row(goal, f"one LoRA run (query, value; r 8), {shape}, batch {batch}", target, before)
    folder = bert_folder(shape, root)
    stuff = material(folder, 256)
    spec = run("lora", batch_size=batch, target_modules=("query", "value"))
    difference = same_losses(folder, stuff, "lora", batch)
    assert difference < 1e-4, f"losses differ by {difference}"
    row.note = f"losses equal to {difference:.0e}"
    for _ in range(rounds):
        row.ours.append(train_ours(stuff, [spec]))
        row.theirs.append(train_theirs(folder, stuff.features["train"], "lora", 1, batch, 5e-4))
    row.by_length.append(
        train_theirs(folder, stuff.features["train"], "lora", 1, batch, 5e-4, by_length=True)
    )
    row.share_of_floor = share(shape, stuff, "lora", row)
    return row


def share(shape: str, stuff: Material, method: str, row: Row) -> float:
    operations = floor.needed(shape, stuff.features["train"].lengths, method)
    rate = floor.matrix_rate(stuff.backbone.config.hidden_size)
    return operations / rate / statistics.median(row.ours)


def g1(root: Path, rounds: int) -> list[Row]:
    return [lora_row(root, rounds, "G1", "12x768", 16, "3.0x", "2.7x")]


def g2(root: Path, rounds: int) -> list[Row]:
    return [
        lora_row(root, rounds, "G2", "6x256", 32, "4.5x", "3.4x"),
        lora_row(root, rounds, "G2", "4x384", 16, "4.5x", "3.1x"),
    ]


def g3(root: Path, rounds: int) -> list[Row]:
    row = Row("G3", "one full fine-tuning run, 6x256, batch 32", "3.2x", "2.3-2.5x")
    folder = bert_folder("6x256", root)
    stuff = material(folder, 256)
    difference = same_losses(folder, stuff, "full", 32)
    assert difference < 1e-4, f"losses differ by {difference}"
    row.note = f"losses equal to {difference:.0e}"
    for _ in range(rounds):
        row.ours.append(train_ours(stuff, [run("full", rate=5e-5)]))
        row.theirs.append(train_theirs(folder, stuff.features["train"], "full", 1, 32, 5e-5))
    row.by_length.append(
        train_theirs(folder, stuff.features["train"], "full", 1, 32, 5e-5, by_length=True)
    )
    row.share_of_floor = share("6x256", stuff, "full", row)
    return [row]


def shared_row(
    root: Path,
    rounds: int,
    row: Row,
    shape: str,
    batch: int,
    runs: list[Any],
    rival_runs: list[tuple[int, str, float, dict[str, Any]]],
    alone: bool = False,
) -> Row:
    """K runs of ours in one cohort (or `alone`, one after another) against K Trainer runs."""
    folder = bert_folder(shape, root)
    stuff = material(folder, 256)
    for _ in range(rounds):
        if alone:
            row.ours.append(sum(train_ours(stuff, group) for group in runs))
        else:
            row.ours.append(train_ours(stuff, runs))
        row.theirs.append(
            sum(
                count
                * train_theirs(
                    folder, stuff.features["train"], method, epochs, batch, 5e-4, **kwargs
                )
                for count, method, epochs, kwargs in rival_runs
            )
        )
    return row


def rates(count: int) -> list[float]:
    return [1e-4 * 1.5**i for i in range(count)]


def g4(root: Path, rounds: int) -> list[Row]:
    row = Row("G4", "4 head-only runs x 3 epochs, 6x256, batch 16", "30x", "23.7x")
    runs = [run("last_layer", epochs=3, batch_size=16, rate=rate) for rate in rates(4)]
    return [shared_row(root, rounds, row, "6x256", 16, runs, [(4, "head", 3, {})])]


def g5(root: Path, rounds: int) -> list[Row]:
    row = Row("G5", "top block + pooler + head, 10 epochs, 6x256, batch 16", "14x", "9.3x")
    runs = [run("top_blocks", epochs=10, batch_size=16, k=1)]
    return [shared_row(root, min(rounds, 2), row, "6x256", 16, runs, [(1, "top1", 10, {})])]


UPPER = r".*layer\.[345]\.attention\.self\.(query|value)"


def g6(root: Path, rounds: int) -> list[Row]:
    row = Row("G6", "4 LoRA runs in the top half x 3 epochs, 6x256, batch 16", "6x", "3.9x")
    runs = [
        run("lora", epochs=3, batch_size=16, rate=rate, target_modules=UPPER) for rate in rates(4)
    ]
    return [shared_row(root, rounds, row, "6x256", 16, runs, [(4, "lora", 3, {"targets": UPPER})])]


def g7(root: Path, rounds: int) -> list[Row]:
    rows = []
    for shape, count, batch, target, before in (
        ("2x128", 8, 8, "8x", "5.8x"),
        ("6x256", 8, 8, "4.5x", "2.7-3.6x"),
        ("12x768", 4, 16, "3x", "2.6x"),
    ):
        row = Row(
            "G7",
            f"{count} LoRA runs in all layers (query, value), {shape}, batch {batch}",
            target,
            before,
        )
        runs = [
            run("lora", batch_size=batch, rate=rate, target_modules=("query", "value"))
            for rate in rates(count)
        ]
        row = shared_row(
            root,
            rounds if shape != "12x768" else 1,
            row,
            shape,
            batch,
            runs,
            [(count, "lora", 1, {})],
        )
        stuff = material(bert_folder(shape, root), 256)
        apart = sum(train_ours(stuff, [one]) for one in runs)
        row.note = f"the same runs one after another: {apart / statistics.median(row.ours):.2f}x"
        rows.append(row)
    return rows


def g8(root: Path, rounds: int) -> list[Row]:
    row = Row(
        "G8",
        "18 runs: 4 head, 4 top-1, 4 LoRA top half, 4 LoRA, 2 full; 3 epochs, 6x256",
        "6x",
        "3.8x",
    )

    def of(method: str, count: int, **settings: Any) -> list[Any]:
        return [
            run(method, epochs=3, batch_size=16, rate=rate, **settings) for rate in rates(count)
        ]

    groups = [
        of("last_layer", 4),
        of("top_blocks", 4, k=1),
        of("lora", 4, target_modules=UPPER),
        of("lora", 4, target_modules=("query", "value")),
        *[[r] for r in of("full", 2)],
    ]
    return [
        shared_row(
            root,
            min(rounds, 1),  # two minutes of Trainer a round
            row,
            "6x256",
            16,
            groups,
            [
                (4, "head", 3, {}),
                (4, "top1", 3, {}),
                (4, "lora", 3, {"targets": UPPER}),
                (4, "lora", 3, {}),
                (2, "full", 3, {}),
            ],
            alone=True,
        )
    ]


def g10(root: Path, rounds: int) -> list[Row]:
    folder = bert_folder("4x384", root)
    plain = material(folder, 256)
    held = material(folder, 256, quantization="nf4", dequantized_cache_gb=1.0)
    packed = material(folder, 256, quantization="nf4")
    spec = run("lora", batch_size=16, target_modules=("query", "value"))
    row = Row(
        "G10",
        "QLoRA (nf4, weights kept dequantized), 4x384, batch 16",
        "1.00 of our LoRA",
        "1.1-1.25x over bitsandbytes",
    )
    ours_lora, unheld = [], []
    for _ in range(rounds):
        row.ours.append(train_ours(held, [spec]))
        ours_lora.append(train_ours(plain, [spec]))
        unheld.append(train_ours(packed, [spec]))
        row.theirs.append(
            train_theirs(folder, plain.features["train"], "lora", 1, 16, 5e-4, quantized=True)
        )
    sites = [(name, site) for name, site in held.backbone.sites.items() if site.quantized]
    x = torch.randn(40, 384)
    equal = all(
        torch.equal(site.frozen(x), packed.backbone.sites[name].frozen(x))
        for name, site in sites
        if site.in_features == 384
    )
    lora = statistics.median(a / b for a, b in zip(row.ours, ours_lora, strict=True))
    bnb = statistics.median(b / a for a, b in zip(row.ours, unheld, strict=True))
    row.note = (
        f"{lora:.2f} of our LoRA's time; {bnb:.2f}x our own 4-bit path; outputs "
        f"{'bit-equal' if equal else 'NOT bit-equal'}"
    )
    return [row]


def g11(root: Path, rounds: int) -> list[Row]:
    from tuneoff.training.evaluation import evaluate
    from tuneoff.training.passes import Passes

    folder = bert_folder("6x256", root)
    stuff = material(folder, 64, evaluation=512)
    cohort = Cohort([run("full", cached=False)], stuff, Limits())
    row = Row(
        "G11", "evaluation of 512 examples, 6x256 (Trainer: batch 8, its default)", "3x", "2.5x"
    )
    net = rival.model(folder, "full")
    runner = rival.trainer(net, stuff.features["validation"], 1, 32, 1e-4, 0, folder)
    runner.args.per_device_eval_batch_size = 8
    data = rival.rows(stuff.features["validation"])
    for _ in range(rounds):
        passes: Passes = cohort.passes
        row.ours.append(cpu_seconds(partial(evaluate, passes, stuff, "validation")))
        row.theirs.append(cpu_seconds(lambda: runner.evaluate(data)))
    return [row]


def g12(root: Path, rounds: int) -> list[Row]:
    """Our step against its bare forward, backward and optimizer, and a new run on warm material."""
    from tuneoff.training import layout as layouts

    stuff = material(bert_folder("2x128", root), 256)
    spec = run("lora", batch_size=8, epochs=100, target_modules=("query", "value"))
    cohort = Cohort([spec], stuff, Limits())
    cohort.begin()
    member = cohort.members[0]
    row = Row(
        "G12", "the loop's own time per step (2x128, batch 8), ms", "<= 0.3 ms", "4-5 ms (Trainer)"
    )

    def bare(count: int) -> None:
        for layout, labels in prepared[:count]:
            logits = cohort.passes.logits(layout, "train")
            torch.nn.functional.cross_entropy(logits, labels).backward()
            member.update()
            member.step = 0

    prepared = []
    for _ in range(32):
        layout = layouts.build(
            stuff.features["train"],
            [member.batch()],
            cohort.passes.reads,
            cohort.device,
            streams=[member.stream],
            dropout_rates=[0.0],
        )
        prepared.append((layout, layout.targets))
        member.step += 1
    differences = []
    for _ in range(max(rounds, 5)):
        member.step = 0
        whole = cpu_seconds(lambda: [cohort.step() for _ in range(32)])
        member.step = 0
        differences.append((whole - cpu_seconds(lambda: bare(32))) / 32 * 1e3)
    started = time.perf_counter()
    for _ in range(10):
        Cohort([spec], stuff, Limits())
    warm = (time.perf_counter() - started) / 10 * 1e3
    low, high = min(differences), max(differences)
    row.note = (
        f"**{statistics.median(differences):.2f} ms** ({low:.2f} to {high:.2f}; layout, "
        f"losses, bookkeeping); a new run on loaded material starts in {warm:.0f} ms"
    )
    return [row]


ROWS: dict[str, Callable[[Path, int], list[Row]]] = {
    "G1": g1,
    "G2": g2,
    "G3": g3,
    "G4": g4,
    "G5": g5,
    "G6": g6,
    "G7": g7,
    "G8": g8,
    "G10": g10,
    "G11": g11,
    "G12": g12,
}
NOT_BUILT = [
    (
        "G9",
        "27-configuration tuning study to the same winner",
        "40x",
        "9x x G8 (arithmetic)",
        "wants real texts: `--data`, or `python -m benchmarks.tuning`",
    ),
    ("G13", "GPU, BERT-base/GPT-2, short texts", "10x / 40x", "unmeasured", "no GPU at hand"),
    ("G14", "GPU, 1.3B, short texts, K >= 4", "8x", "unmeasured", "no GPU at hand"),
    ("G15", "GPU, 8B", "1.6x; 2x", "unmeasured", "no GPU at hand"),
]


HEADER = (
    "| goal | work | goal | prototype | measured (median, range) | group_by_length "
    "| share of floor | notes |"
)


def lines_of(rows: list[Row]) -> list[str]:
    """Rows of the table in Markdown; not those of goals that are not measured."""
    lines = []
    for row in rows:
        measured = "see notes"
        if row.theirs:
            ratios = sorted(row.ratios)
            measured = (
                f"**{statistics.median(ratios):.2f}x** ({ratios[0]:.2f}-{ratios[-1]:.2f}; "
                f"{statistics.median(row.ours):.2f} s v {statistics.median(row.theirs):.2f} s)"
            )
        grouped = f"{row.by_length[0] / statistics.median(row.ours):.2f}x" if row.by_length else ""
        part = f"{row.share_of_floor:.0%}" if row.share_of_floor else ""
        lines.append(
            f"| {row.goal_id} | {row.what} | {row.goal} | {row.prototype} | {measured} | "
            f"{grouped} | {part} | {row.note} |"
        )
    return lines


def write(path: Path, rows: list[Row], about: str) -> None:
    """Puts rows into the page, and their figures into the JSON beside it; what else stands in both
    stays."""
    text = path.read_text("utf-8") if path.exists() else NEW_PAGE
    left = [
        f"| {goal_id} | {what} | {goal} | {prototype} | {page.NOT_MEASURED} | | | {why} |"
        for goal_id, what, goal, prototype, why in NOT_BUILT
    ]
    made = ", ".join(dict.fromkeys(row.goal_id for row in rows))
    about = f"Last made by `python -m benchmarks.against_trainer`: {made}. {about}"
    text = page.with_rows(text, HEADER, [*lines_of(rows), *left], about)
    path.write_text(text, "utf-8")
    figures = path.with_suffix(".json")
    known = json.loads(figures.read_text("utf-8")) if figures.exists() else []
    kept = {(one["goal_id"], one["what"]): one for one in known}
    kept |= {(row.goal_id, row.what): vars(row) for row in rows}
    figures.write_text(json.dumps(list(kept.values()), indent=1), "utf-8")


NEW_PAGE = """# Benchmarks

Against Hugging Face Trainer + PEFT with dynamic padding; made by
`python -m benchmarks.against_trainer`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for models (kept)")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--data", type=Path, help="folder of SST-5 as CSV files, for G9")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, help="page whose rows are replaced or added; JSON beside it"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    if arguments.data:
        from benchmarks import tuning

        rows += tuning.g9(arguments.work, arguments.data, arguments.rounds)
        print("\n".join(lines_of(rows)), flush=True)
    for name in arguments.rows.split(","):
        found = ROWS[name](arguments.work, arguments.rounds)
        rows += found
        print("\n".join(lines_of(found)), flush=True)
    if arguments.out:
        import peft
        import transformers

        about = (
            f"{platform.processor() or platform.machine()}, one thread, torch "
            f"{torch.__version__}, transformers {transformers.__version__}, peft "
            f"{peft.__version__}; {arguments.rounds} rounds; mean length "
            f"{features(256).lengths.mean():.1f} tokens"
        )
        write(arguments.out, rows, about)


if __name__ == "__main__":
    main()
