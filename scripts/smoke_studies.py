"""Runs every published study at `--scale smoke`, each cell of it, on real text and small models.

    python scripts/smoke_studies.py --data DATA --models MODELS --pages docs/studies/smoke

DATA holds a folder for each data set (imdb, sst5, ...). MODELS holds, under the last part of a hub
name (`bert-base-uncased`), a model or a tokenizer alone; for a tokenizer a small model of the
published architecture is made, with random weights. With --pages the figures are written as
Markdown. What comes out shows that every cell runs, and says so: it is no reproduction of anything.
The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from small_models import make
from smoke_pages import Ended, has_result, write_pages

STUDIES = (
    "transformer-grid",
    "gpt2-lora-survey",
    "explora",
    "imdb-four-methods",
    "shared-task-4",
)
"""The longest first."""
FOLDERS = {
    "stanfordnlp/imdb": "imdb",
    "SetFit/sst5": "sst5",
    "EdinburghNLP/xsum": "xsum",
    "fancyzhx/amazon_polarity": "amazon",
    "rajpurkar/squad": "squad",
    "abisee/cnn_dailymail (3.0.0)": "cnndm",
    "tatsu-lab/alpaca": "alpaca",
    "AlekseyKorshuk/quora-question-pairs": "quora",
}
"""Data of a recipe -> its folder in DATA; a task is looked for under its own name else."""
TOKENIZERS = {
    "google-bert/bert-base-uncased": "bert-base-uncased",
    "FacebookAI/roberta-base": "roberta-base",
    "EleutherAI/gpt-neo-1.3B": "gpt2",
    "openai-community/gpt2": "gpt2",
    "openai-community/gpt2-medium": "gpt2",
    "openai-community/gpt2-large": "gpt2",
    "google-t5/t5-small": "t5-small",
}


def main() -> None:
    """Run the studies, two at a time; exit 1 when a cell has no result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data folders")
    parser.add_argument("--models", type=Path, required=True, help="folder of models or tokenizers")
    parser.add_argument("--out", type=Path, default=Path("runs/smoke"), help="results")
    parser.add_argument("--study", action="append", choices=STUDIES, help="only this one")
    parser.add_argument("--only", action="append", default=[], help="as of `tuneoff run`")
    parser.add_argument("--jobs", type=int, default=2, help="studies side by side")
    parser.add_argument("--pages", type=Path, help="write the figures as Markdown into this folder")
    asked = parser.parse_args()
    started = time.monotonic()
    commands = {study: command(study, asked) for study in asked.study or STUDIES}
    with ThreadPoolExecutor(asked.jobs) as side_by_side:
        ended = list(side_by_side.map(run, commands, commands.values(), repeat(asked.out)))
    failed = [f"{one.name}: {what}" for one in ended for what in without_result(one)]
    if asked.pages:
        seconds = time.monotonic() - started
        write_pages([one for one in ended if not one.exit_code], asked.pages, seconds)
    print("\n".join(failed) or "every cell has a result")
    sys.exit(bool(failed))


def command(study: str, asked: argparse.Namespace) -> list[str]:
    """What runs a study; its models are made."""
    words = [sys.executable, "-m", "tuneoff", "run", study, "--scale", "smoke"]
    words += ["--out", str(asked.out / study), "--device", "cpu", *places(study, asked)]
    return words + [word for text in asked.only for word in ("--only", text)]


def run(study: str, words: list[str], out: Path) -> Ended:
    """One study in a process of its own, its words in `STUDY.log` beside its folder."""
    new, started = not (out / study / "results.jsonl").exists(), time.monotonic()
    log = out / f"{study}.log"
    out.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        code = subprocess.run(words, check=False, stdout=lines, stderr=lines).returncode
    spent = time.monotonic() - started
    print(f"{study}: {spent:.0f} s, exit {code}, {log}", flush=True)
    return Ended(study, out / study, spent if new else None, code)


def places(study: str, asked: argparse.Namespace) -> list[str]:
    """`--backbone` and `--data` for what a study names."""
    from tuneoff.recast.only import kept
    from tuneoff.study import load_study

    whole = load_study(study)
    part = kept(whole, asked.only) if asked.only else whole
    words: list[str] = []
    for backbone in part.backbones:
        words += ["--backbone", f"{backbone.name}={model(backbone.model, asked)}"]
    for task in part.tasks:
        folder = FOLDERS.get(task.data.source.title, task.name)
        words += ["--data", f"{task.name}={asked.data / folder}"]
    return words


def model(name: str, asked: argparse.Namespace) -> Path:
    """A folder with a model for a hub name; it is made where there is a tokenizer alone."""
    short = name.rpartition("/")[2]
    whole = asked.models / short
    if (whole / "config.json").is_file():
        return whole
    made = asked.out / "models" / f"small-{short}"
    if not (made / "config.json").is_file():
        make(short, asked.models / TOKENIZERS[name], made)
    return made


def without_result(study: Ended) -> list[str]:
    """Cells that have no figure, with the reason."""
    from tuneoff.report.contents import read_contents
    from tuneoff.report.published import beside

    if study.exit_code:
        return ["it ended early"]
    found = beside(read_contents(study.folder))
    cells = found.cells if found else ()
    return [f"{cell.title}: {cell.failure or 'no run'}" for cell in cells if not has_result(cell)]


if __name__ == "__main__":
    main()
