"""Runs every published study at `--scale smoke`, each cell of it, on real text and small models.

    python scripts/smoke_studies.py --data DATA --models MODELS --out runs/smoke

DATA holds a folder for each data set (imdb, sst5, ...). MODELS holds, under the last part of a hub
name (`bert-base-uncased`), a model or a tokenizer alone; for a tokenizer a small model of the
published architecture is made, with random weights. Without MODELS the built-in models stand in.
What comes out shows that every cell runs, and says so: it is no reproduction of anything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STUDIES = (
    "imdb-four-methods",
    "shared-task-4",
    "transformer-grid",
    "explora",
    "gpt2-lora-survey",
)
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
BUILT_IN = {"bert": "mini-bert", "roberta": "mini-bert", "t5": "mini-t5"}
"""By the first letters of a model's name; mini-gpt2 for all others."""


def main() -> None:
    """Run the studies one after another; exit 1 when a cell has no result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data folders")
    parser.add_argument("--models", type=Path, help="folder of models or tokenizers")
    parser.add_argument("--out", type=Path, default=Path("runs/smoke"), help="results")
    parser.add_argument("--study", action="append", choices=STUDIES, help="only this one")
    parser.add_argument("--only", action="append", default=[], help="as of `tuneoff run`")
    asked = parser.parse_args()
    failed = []
    for study in asked.study or STUDIES:
        started = time.monotonic()
        words = [sys.executable, "-m", "tuneoff", "run", study, "--scale", "smoke"]
        words += ["--out", str(asked.out / study), "--device", "cpu", *places(study, asked)]
        words += [word for text in asked.only for word in ("--only", text)]
        code = subprocess.run(words, check=False).returncode
        missing = without_result(asked.out / study) if not code else ["the study ended early"]
        failed += [f"{study}: {one}" for one in missing]
        print(f"{study}: {time.monotonic() - started:.0f} s, exit {code}", flush=True)
    print("\n".join(failed) or "every cell has a result")
    sys.exit(bool(failed))


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


def model(name: str, asked: argparse.Namespace) -> str:
    """A folder with a model for a hub name, or the name of a built-in one."""
    short = name.rpartition("/")[2]
    if asked.models is None:
        return next((one for key, one in BUILT_IN.items() if short.startswith(key)), "mini-gpt2")
    whole = asked.models / short
    if (whole / "config.json").is_file():
        return str(whole)
    made = asked.out / "models" / short
    if not (made / "config.json").is_file():
        make(short, asked.models / TOKENIZERS[name], made)
    return str(made)


def make(short: str, tokenizer_folder: Path, folder: Path) -> None:
    """A small model of an architecture, random weights (seed 0), with the tokenizer beside it."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = t.AutoTokenizer.from_pretrained(str(tokenizer_folder))
    config = small_config(short, len(tokenizer), tokenizer)
    built: Any = t.AutoModel.from_config(config)
    built.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def small_config(short: str, vocabulary: int, tokenizer: Any) -> Any:
    """Few blocks, 64 features; GPT-2's three sizes stay three sizes."""
    import transformers as t

    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id")
        if getattr(tokenizer, name) is not None
    }
    wide = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": vocabulary,
        "max_position_embeddings": 514,
    }
    if short.startswith("bert"):
        return t.BertConfig(**wide, pad_token_id=special["pad_token_id"])
    if short.startswith("roberta"):
        return t.RobertaConfig(**wide, **special, type_vocab_size=1)
    if short.startswith("gpt-neo"):
        return t.GPTNeoConfig(
            hidden_size=64, num_layers=2, num_heads=4, vocab_size=vocabulary, window_size=64,
            max_position_embeddings=512, intermediate_size=128,
            attention_types=[[["global", "local"], 1]], **special,
        )  # fmt: skip
    if short.startswith("t5"):
        return t.T5Config(
            d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=vocabulary,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
    blocks = {"gpt2": 2, "gpt2-medium": 3, "gpt2-large": 4}[short]
    return t.GPT2Config(
        n_embd=64, n_layer=blocks, n_head=4, vocab_size=vocabulary, n_positions=1024, **special
    )


def without_result(out: Path) -> list[str]:
    """Cells of a results folder that have no figure, with the reason."""
    from tuneoff.report.contents import read_contents
    from tuneoff.report.published import beside

    found = beside(read_contents(out))
    return [
        f"{cell.title}: {cell.failure or 'no run'}"
        for cell in (found.cells if found else ())
        if not any(one.ours is not None for one in cell.figures if one.split)
    ]


if __name__ == "__main__":
    main()
