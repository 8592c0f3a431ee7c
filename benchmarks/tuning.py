"""A search over 27 learning rates: halved, against every rate to its end by Trainer + PEFT.

    python -m benchmarks.tuning --work /tmp/bench --data SST5_FOLDER --trials 12

One contest, as `tuning: {probes: 27, halving: 3}` makes it: LoRA (query, value; r 8) on the
built-in encoder, 27 rates from 1e-4 to 1e-1, real texts (`--data` holds train.csv and test.csv with
columns text and label). Dropout is off on both sides, so that the losses can be compared.

Time: CPU seconds of our halved search, with its states on the disk, against one Trainer run with
one evaluation at its end, times 27: its runs share nothing, and a rate changes no run's time.

Agreement was defined before it was measured. Over draws of rows and seeds: how often the halved
search chooses the rate that the whole grid chooses by the same rule; and how often one whose
whole-length validation accuracy is within one standard error of the grid's best accuracy. Beside
them: what the two choices, trained anew, differ by on the test split. The whole grid is trained
once per trial with all its scores at the rungs; who would have gone on is read from these, which
is the same thing as stopping the others (tests/training/test_stages.py).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from benchmarks import rival
from benchmarks.against_trainer import HEADER, Row, cpu_seconds, lines_of, same_losses
from benchmarks.quality_against_trainer import part
from benchmarks.workloads import CLASSES, run
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.backbones.names import folder_of
from tuneoff.datasets.csv import Csv
from tuneoff.halving import Race, race, rungs
from tuneoff.probes import leader, score_of
from tuneoff.registry import get
from tuneoff.training.features import Features
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Material, Prefixes, Stage
from tuneoff.training.schedules import total_steps, warmup_steps

RATES = [float(f"{1e-4 * 1000 ** (place / 26):.3g}") for place in range(27)]
TOP = r".*layer\.2\.attention\.self\.(query|value)"
ETA, BATCH, EPOCHS = 3, 16, 3
TOGETHER = {"all": 4, "top": 8}
"""Members of a cohort, as the planner has them on a CPU."""


class Texts(NamedTuple):
    """The encoded rows, and the backbone that reads them; `folder` is where it lies."""

    folder: Path
    backbone: Any
    train: Features
    test: Features

    def material(self, seed: int, train: int, validation: int) -> Material:
        """Rows of train and validation drawn without replacement; test whole."""
        keep = np.random.default_rng(seed).permutation(len(self.train))[: train + validation]
        splits = {
            "train": part(self.train, keep[:train]),
            "validation": part(self.train, keep[train:]),
            "test": self.test,
        }
        return Material(self.backbone, get("tasks", "text_classification")(), splits, CLASSES)


def texts(work: Path, data: Path) -> Texts:
    """The built-in encoder without dropout in a folder that both sides read, and the rows."""
    folder = work / "mini-bert"
    if not folder.exists():
        source = folder_of("mini-bert")
        assert source is not None
        shutil.copytree(source, folder)
        config = json.loads((folder / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config |= {"num_labels": len(CLASSES)}
        (folder / "config.json").write_text(json.dumps(config))
    backbone = load(BackboneOptions(str(folder)), classes=CLASSES)
    task = get("tasks", "text_classification")()
    rows = Csv(train=data / "train.csv", test=data / "test.csv").load()
    facts = task.describe(rows["train"])
    train, test = (task.features(rows[name], facts, backbone.tokenizer) for name in rows)
    return Texts(folder, backbone, train, test)


def probe(where: str, rate: float, seed: int, kind: str = "probe") -> Any:
    """One configuration. where: LoRA in `all` blocks or in the `top` one."""
    targets = TOP if where == "top" else ("query", "value")
    spec = run("lora", EPOCHS, BATCH, rate, seed, target_modules=targets)
    spec.kind = kind
    return spec


def search(where: str, seed: int, material: Material, stopping: bool) -> dict[str, dict[str, Any]]:
    """The lines of all probes. stopping: whether the worse ones stop at the rungs, or all are
    scored there and go on."""
    material = replace(material, prefixes=Prefixes())  # nothing is kept from an earlier search
    specs = {spec.run_id: spec for spec in (probe(where, rate, seed) for rate in RATES)}
    lines: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:

        def train(due: Sequence[str], until: int | None) -> None:
            for start in range(0, len(due), TOGETHER[where]):
                runs = [specs[name] for name in due[start : start + TOGETHER[where]]]
                states = [Path(folder) / f"{RATES.index(one.learning_rate)}.pt" for one in runs]
                for end in train_cohort(runs, material, stage=Stage(until, states)):
                    lines[end.spec.run_id] = {
                        "learning_rate": end.spec.learning_rate,
                        "status": end.status,
                        "rungs": end.rungs,
                        "metrics": end.metrics,
                        "data": {"validation": len(material.features["validation"])},
                    }

        steps, warm = steps_of(material)
        if not stopping:
            for until in (*(rung.step for rung in rungs(len(RATES), ETA, steps, warm)), None):
                train([one for one in specs if not lost(lines.get(one))], until)
            return lines
        while (state := standing(lines, list(specs), material)).due:
            train(state.due, state.until)
    return lines


def steps_of(material: Material) -> tuple[int, int]:
    """Of a probe: all, and those of its warm-up."""
    training = probe("all", 1e-4, 0).training
    steps = total_steps(training, len(material.features["train"]))
    return steps, warmup_steps(training, steps)


def standing(lines: dict[str, dict[str, Any]], names: Sequence[str], material: Material) -> Race:
    """Who is still in the race."""
    steps, warm = steps_of(material)
    return race(names, ETA, steps, lines, lost_of(lines), "accuracy", warm)


def lost(line: dict[str, Any] | None) -> bool:
    return line is not None and line["status"] not in ("done", "stopped")


def lost_of(lines: dict[str, dict[str, Any]]) -> set[str]:
    """Probes that diverged."""
    return {name for name, line in lines.items() if lost(line)}


def choice(lines: dict[str, dict[str, Any]], names: Sequence[str]) -> float:
    """The rate that the probes of these names, which came to their end, choose."""
    scores = [
        score_of(lines[name], lines[name]["metrics"]["validation"], "accuracy")
        for name in names
        if lines[name]["status"] == "done"
    ]
    return leader(scores).rate


class Trial(NamedTuple):
    """Accuracies are shares; `behind` is the grid's choice less ours, on test."""

    grid: float
    halved: float
    within: bool
    behind: float


def trial(source: Texts, where: str, seed: int, train: int, validation: int) -> Trial:
    """One draw of rows and seed: the whole grid, and what halving would have chosen."""
    material = source.material(seed, train, validation)
    lines = search(where, seed, material, stopping=False)
    state = standing(lines, list(lines), material)
    grid, halved = choice(lines, list(lines)), choice(lines, state.racing)
    accuracy = {
        line["learning_rate"]: line["metrics"]["validation"]["accuracy"]
        for line in lines.values()
        if line["status"] == "done"
    }
    top = max(accuracy.values())
    error = math.sqrt(top * (1 - top) / validation)
    behind = 0.0
    if grid != halved:
        ends = train_cohort([probe(where, rate, seed, "run") for rate in (grid, halved)], material)
        behind = float(np.subtract(*(end.metrics["test"]["accuracy"] for end in ends)))
    return Trial(grid, halved, accuracy[halved] >= top - error, behind)


def trainer_run(source: Texts, where: str, material: Material, rate: float) -> float:
    """CPU seconds of one Trainer run of its whole length and one evaluation."""
    targets = TOP if where == "top" else ("query", "value")
    net = rival.model(source.folder, "lora", targets=targets)
    data = material.features
    runner = rival.trainer(net, data["train"], EPOCHS, BATCH, rate, 0, source.folder)
    rows = rival.rows(data["validation"])

    def work() -> None:
        runner.train()
        runner.predict(rows)

    return cpu_seconds(work)


def timed(source: Texts, where: str, rounds: int, train: int, validation: int) -> Row:
    """The halved search against 27 Trainer runs."""
    blocks = "all blocks" if where == "all" else "the top block"
    row = Row(
        "G9",
        f"27 rates of LoRA in {blocks} to one winner, mini-bert on SST-5, {train} rows x {EPOCHS} "
        f"epochs, {validation} validation rows, batch {BATCH}",
        "40x",
        "9x x G8 (arithmetic)",
    )
    material = source.material(0, train, validation)
    for place in range(rounds):
        row.ours.append(cpu_seconds(lambda: search(where, 0, material, stopping=True)))
        one = trainer_run(source, where, material, RATES[9 * place % len(RATES)])
        row.theirs.append(len(RATES) * one)
    row.note = f"Trainer: {rounds} of its runs measured (each with one evaluation), x 27"
    return row


def agreement(source: Texts, where: str, count: int, train: int, validation: int) -> str:
    """The figures of `count` trials, in words."""
    trials = []
    for seed in range(count):
        trials.append(trial(source, where, seed, train, validation))
        print(f"trial {seed}: {trials[-1]}", flush=True)
    same = sum(one.grid == one.halved for one in trials)
    near = sum(one.within for one in trials)
    behind = [100 * one.behind for one in trials]
    spread = statistics.stdev(behind) if len(behind) > 1 else math.nan
    return (
        f"winner against our whole grid over {count} draws of {train} rows ({validation} for "
        f"validation): the same rate {same} of {count}, within one standard error of the best "
        f"{near} of {count}; on test {statistics.mean(behind):+.2f} points behind (sd {spread:.2f})"
    )


def g9(
    work: Path, data: Path, rounds: int, trials: int = 12, train: int = 2000, validation: int = 200
) -> list[Row]:
    """A row for each place of the hooks; the agreement is of the top block."""
    source = texts(work, data)
    material = source.material(0, 256, 16)
    difference = same_losses(source.folder, material, "lora", BATCH)
    assert difference < 1e-4, f"losses differ by {difference}"
    rows = [timed(source, where, rounds, train, validation) for where in ("all", "top")]
    rows[0].note += f"; losses equal to {difference:.0e}"
    if trials:
        rows[1].note += "; " + agreement(source, "top", trials, 640, 300)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the model (kept)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.csv, test.csv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rows", type=int, default=2000, help="training rows of what is timed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = g9(
        arguments.work,
        arguments.data,
        arguments.rounds,
        arguments.trials,
        arguments.rows,
        arguments.rows // 10,
    )
    print("\n".join([HEADER, *lines_of(rows)]))


if __name__ == "__main__":
    main()
