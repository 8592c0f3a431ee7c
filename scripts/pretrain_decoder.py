"""Make tuneoff's built-in decoder: English novels in, a small GPT-2 folder out.

    python scripts/pretrain_decoder.py --novels ../shared/data/novels --minutes 25

One command does all of it, on one CPU core or on a GPU where there is one:

1. tokenizer   byte-level BPE, as GPT-2's, learned from the novels
2. tokens      all novels as one array of token ids, two books held out
3. vectors     token embeddings before any training, by counting (see `novels.meaning`)
4. training    the next token, on full rows of text
5. folder      Hugging Face layout, weights in fp16, with the settings and the loss curve

Before the first step the model already says each token as often as the novels do: one coordinate of
the token table holds the logarithm of its frequency, and the last normalization's bias reads it.
Stages 1 to 3 are kept in --work and reused; training continues from its last checkpoint there.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

import novels
import pretraining

END = "<|endoftext|>"
FOLDER = Path(__file__).resolve().parents[1] / "src/tuneoff/backbones/builtin/tuneoff-mini-gpt2"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the weights, apart from the corpus and the time."""

    seed: int = 0
    vocabulary: int = 8192
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    positions: int = 512
    rows: tuple[tuple[int, int, float], ...] = ((32, 64, 0.4), (16, 128, 0.45), (4, 512, 0.15))
    # rows in a step, tokens in a row, share of the steps: short rows cost less attention
    frequent: int = 2048
    sampled: int = 1024
    whole_softmax: float = 0.15  # share of the run, at its end, that scores the whole vocabulary
    frequency_scale: float = 8.0  # the bias that reads the frequencies
    matrix_rate: float = 3e-3
    table_rate: float = 1e-3
    other_rate: float = 2e-3
    weight_decay: float = 0.01


def train_tokenizer(files: list[Path], s: Settings) -> Any:
    """GPT-2's kind of tokenizer: bytes, merged; every text can be said."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=s.vocabulary - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = (line + "\n" for line in novels.lines_of(files))
    tokenizer.train_from_iterator(lines, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    vocab = {**learned["vocab"], END: len(learned["vocab"])}
    merges = [tuple(pair) for pair in learned["merges"]]
    return GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=s.positions)


def build_model(s: Settings, vectors: Tensor, counts_V: np.ndarray, end: int) -> GPT2LMHeadModel:
    """A fresh GPT-2 with counted token vectors, which begins with the tokens' frequencies."""
    torch.manual_seed(s.seed)
    config = GPT2Config(
        vocab_size=s.vocabulary,
        n_positions=s.positions,
        n_embd=s.hidden,
        n_layer=s.layers,
        n_head=s.heads,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel._from_config(config, attn_implementation="sdpa")
    body = model.transformer
    share = torch.from_numpy((counts_V + 1) / (counts_V + 1).sum()).log().float()
    with torch.no_grad():
        body.wte.weight.copy_(vectors)
        body.wte.weight[:, 0] = (share - share.mean()) / s.frequency_scale
        body.wpe.weight.copy_(0.3 * F.normalize(pretraining.sinusoids(s.positions, s.hidden)))
        for block in body.h:
            block.attn.c_proj.weight.zero_()
            block.mlp.c_proj.weight.zero_()
        body.ln_f.weight.fill_(0.1)
        body.ln_f.weight[0] = 0
        body.ln_f.bias[0] = s.frequency_scale
    return model


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, windows: novels.Windows, length: int, most: int) -> dict:
    """Mean loss in nats a token over the whole vocabulary, on at most so many rows of each book."""
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for rows in windows.tiles(length):
        chosen = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
        for part in torch.from_numpy(chosen).to(device).split(8):
            logits = model(part, use_cache=False).logits[:, :-1]
            total += float(
                F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()) * part.numel()
            )
            count += part.numel()
    return {f"held_out_loss_{length}": round(total / count, 4)}


def prepare(files: list[Path], s: Settings, folder: Path) -> tuple[Any, dict[str, Any], Tensor]:
    """Tokenizer, tokens and counted vectors, made once."""
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(files, s)
        tokenizer.save_pretrained(part)
        data = novels.encode(files, tokenizer, "\n", [tokenizer.convert_tokens_to_ids(END)])
        np.savez(part / "tokens.npz", **data)
        vectors = novels.meaning(data["ids"], s.vocabulary, s.hidden, seed=s.seed)
        np.save(part / "vectors.npy", vectors.numpy())
        part.replace(folder)
    with np.load(folder / "tokens.npz") as stored:
        data = dict(stored)
    vectors = torch.from_numpy(np.load(folder / "vectors.npy"))
    return GPT2Tokenizer.from_pretrained(folder), data, vectors


def about(model: GPT2LMHeadModel, s: Settings, record: dict[str, Any]) -> str:
    """The folder's README, with the figures of this run."""
    parameters = sum(p.numel() for p in model.parameters())
    found, corpus = record["held_out"], record["corpus"]
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2, small, tuneoff]
---

# tuneoff-mini-gpt2

A small GPT-2, made so that tuneoff can run every task for decoders at once, offline, on an ordinary
laptop. It is a real pretrained decoder, but a tiny one: use it to try tuneoff, to teach, and to
test; not to build a product on.

| | |
| --- | --- |
| architecture | `GPT2LMHeadModel`: {s.layers} layers, hidden {s.hidden}, {s.heads} heads, {s.positions} positions, tied head |
| parameters | {parameters:,}, stored in fp16 (load with `dtype=torch.float32`) |
| tokenizer | byte-level BPE, {s.vocabulary:,} tokens, learned from the same novels |
| data | {corpus["books"]} English novels, {corpus["tokens"] / 1e6:.1f} million tokens; public domain where copyright ends 70 years after the author's death |
| seen | {record["tokens_seen"] / 1e6:.1f} million tokens in {record["steps"]:,} steps, {record["seconds"] / 60:.0f} minutes of one {record["device"]} |
| perplexity on {len(corpus["held_out"])} held-out books | {math.exp(found["held_out_loss_128"]):.0f} in rows of 128 tokens, {math.exp(found["held_out_loss_512"]):.0f} in rows of 512; token frequencies alone {math.exp(found["unigram_loss"]):.0f}, random weights about {s.vocabulary:,} |
| made with | `scripts/pretrain_decoder.py` |
| licence | Apache-2.0, as tuneoff |

## How it was trained

The next token, on full rows of text. Token vectors start from co-occurrence counts (PPMI, then a
truncated SVD), and one coordinate of them from token frequencies. Muon trains the layers' matrices,
AdamW the rest; the rate rises for a moment and falls to zero in a line. All settings, the corpus
hash and the loss curve are in `training.json`.
"""  # noqa: E501 - rows of a table


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--novels", type=Path, required=True, help="folder of plain-text books")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain_decoder"))
    parser.add_argument("--minutes", type=float, default=25, help="time for training alone")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
    parser.add_argument("--vocabulary", type=int, default=Settings.vocabulary)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    s, clock = replace(Settings(), vocabulary=args.vocabulary), time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - clock:6.0f} s] {text}", flush=True)

    files, corpus_hash = novels.read_corpus(args.novels)
    name = novels.key(corpus_hash, s.seed, s.vocabulary, s.hidden)
    tokenizer, data, vectors = prepare(files, s, args.work / f"prepared-{name}")
    if len(tokenizer) != s.vocabulary:
        raise SystemExit(f"the books give {len(tokenizer)} tokens; set --vocabulary to less")
    windows, held = novels.Windows(data, False), novels.Windows(data, True)
    counts_V = novels.counts_of(windows, s.vocabulary)
    say(f"{len(files)} books, {len(data['ids']):,} tokens, {held.bytes_per_token:.2f} bytes each")
    model = build_model(s, vectors, counts_V, tokenizer.convert_tokens_to_ids(END))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}")
    say(f"before training: {held_out_loss(model, held, 128, 8)}")

    body = model.transformer
    matrices = [p for p in body.h.parameters() if p.ndim == 2]
    known = {id(p) for p in matrices} | {id(body.wte.weight)}
    rates = {"matrix": s.matrix_rate, "table": s.table_rate, "other": s.other_rate}
    others = [p for p in model.parameters() if id(p) not in known]
    opts = pretraining.optimizers(matrices, body.wte.weight, others, rates, s.weight_decay)
    part = pretraining.SampledSoftmax(counts_V, s.frequent, s.sampled)
    whole = pretraining.SampledSoftmax(counts_V, s.frequent, 0)

    def losses_of(rng: np.random.Generator, progress: float) -> tuple[dict[str, Tensor], int]:
        rows, length, _ = s.rows[rng.choice(len(s.rows), p=[share for *_, share in s.rows])]
        ids = torch.from_numpy(windows.draw(rows, length + 1, rng)).to(device)
        h = body(ids[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
        scored = whole if progress > 1 - s.whole_softmax else part
        return {"loss": scored.loss(h, body.wte.weight, ids[:, 1:].flatten(), rng)}, len(h)

    work = args.work / f"training-{novels.key(corpus_hash, asdict(s))}"
    work.mkdir(exist_ok=True)
    spent = pretraining.train(
        model,
        opts,
        losses_of,
        lambda: held_out_loss(model, held, 128, 16),
        work,
        args.minutes,
        args.steps,
        s.seed,
    )
    share_V = (counts_V + 1) / (counts_V + 1).sum()
    held_V = novels.counts_of(held, s.vocabulary)
    record = {
        "what": "the next token",
        "settings": asdict(s),
        "corpus": {
            "books": len(files),
            "sha256": corpus_hash,
            "tokens": len(data["ids"]),
            "held_out": [files[place].name for place in novels.held_out_books(len(files))],
            "held_out_bytes_per_token": round(float(held.bytes_per_token), 4),
        },
        "held_out": {
            "unigram_loss": round(float(-(held_V * np.log(share_V)).sum() / held_V.sum()), 4),
            **held_out_loss(model, held, 128, 200),
            **held_out_loss(model, held, 512, 50),
        },
        "versions": {"torch": torch.__version__},
        **spent,
    }
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(model.config, name, 0.1)  # for those who fine-tune; pretraining used none
    pretraining.save_folder(model, tokenizer, record, about(model, s, record), args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    say(f"folder: {args.out}, {size / 1e6:.1f} MB, {record['held_out']}")


if __name__ == "__main__":
    main()
