"""Make tuneoff's built-in encoder-decoder: English novels in, a small T5 folder out.

    python scripts/pretrain_encoder_decoder.py --novels ../shared/data/novels --minutes 25

One command does all of it, on one CPU core or on a GPU where there is one:

1. tokenizer   unigram pieces with 100 sentinels, as T5's, learned from the novels
2. tokens      all novels as one array of token ids, two books held out
3. vectors     token embeddings before any training, by counting (see `novels.meaning`)
4. training    the encoder reads a row with gaps, and the decoder says what stood in them, or the
               whole row as it was; in some steps the one gap is the row's second half
5. folder      Hugging Face layout, weights in fp16, with the settings and the loss curve

All rows of a step have the same gaps' number and lengths in all, so that nothing is padded.
Stages 1 to 3 are kept in --work and reused; training continues from its last checkpoint there.
Source: Raffel et al. 2020 (T5, arXiv 1910.10683); the long gap: Tay et al. 2022 (UL2, 2205.05131);
the whole row: Lewis et al. 2020 (BART, 1910.13461). Gaps alone leave a model that hardly listens to
its encoder after so few steps (docs/log.md, 2026-11-25): the words around a gap say little of it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

import novels
import pretraining

PAD, EOS, UNK = 0, 1, 2
SENTINELS = 100
KINDS = ("gaps", "continued", "restored")  # of steps
FOLDER = Path(__file__).resolve().parents[1] / "src/tuneoff/backbones/builtin/tuneoff-mini-t5"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the weights, apart from the corpus and the time."""

    seed: int = 0
    vocabulary: int = 8192  # sentinels included
    hidden: int = 192
    key_size: int = 48
    heads: int = 4
    feed_forward: int = 768
    layers: int = 3  # of each stack
    # rows in a step, tokens in a row before it has gaps, share of the steps
    rows: tuple[tuple[int, int, float], ...] = ((48, 64, 0.5), (24, 128, 0.5))
    missing: float = 0.25  # share of a row that stands in gaps
    gap: int = 3  # mean length of one
    continued: float = 0.15  # share of the steps whose gap is the second half
    restored: float = 0.45  # share of the steps in which the decoder says the whole row
    frequent: int = 2048
    sampled: int = 1024
    whole_softmax: float = 0.15  # share of the run, at its end, that scores the whole vocabulary
    matrix_rate: float = 3e-3
    table_rate: float = 1e-3
    other_rate: float = 2e-3
    weight_decay: float = 0.01


def train_tokenizer(files: list[Path], s: Settings) -> Any:
    """T5's kind of tokenizer, from each eighth paragraph."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=s.vocabulary - SENTINELS + 16,  # it may end with a few less than it was told
        special_tokens=special,
        unk_token="<unk>",
        initial_alphabet=sorted({chr(code) for code in range(33, 127)} | {"▁"}),
        show_progress=False,
    )
    tokenizer.train_from_iterator(novels.lines_of(files, every=8), trainer)
    learned = json.loads(tokenizer.to_str())["model"]["vocab"]
    scores = {piece: score for piece, score in learned if piece not in special}
    room = s.vocabulary - SENTINELS - len(special)
    best = sorted(scores, key=lambda piece: (len(piece) > 1, -scores[piece], piece))[:room]
    pieces = sorted(((piece, scores[piece]) for piece in best), key=lambda pair: (-pair[1], pair))
    vocab = [(name, 0.0) for name in special] + pieces
    vocab += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(SENTINELS))]
    return T5Tokenizer(vocab=vocab, extra_ids=SENTINELS, model_max_length=512)


def build_model(s: Settings, vectors: Tensor) -> T5ForConditionalGeneration:
    """A fresh T5 whose tied token table has counted vectors."""
    torch.manual_seed(s.seed)
    config = T5Config(
        vocab_size=s.vocabulary,
        d_model=s.hidden,
        d_kv=s.key_size,
        d_ff=s.feed_forward,
        num_layers=s.layers,
        num_heads=s.heads,
        dropout_rate=0.0,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        # T5 divides what its head reads by the root of the width: vectors of that length
        model.shared.weight.copy_(vectors * s.hidden**0.5)
        for name, parameter in model.named_parameters():
            if name.endswith((".o.weight", ".wo.weight")):
                parameter.zero_()  # each layer begins as nothing
        model.decoder.final_layer_norm.weight.fill_(0.3)
    return model


def gaps(rows: int, length: int, s: Settings, rng: np.random.Generator) -> np.ndarray:
    """(B, T) bool: which tokens stand in gaps; the same number of gaps and tokens in each row."""
    lost = round(length * s.missing)
    count = max(1, round(lost / s.gap))
    gap_BG = _parts(rows, lost, count, rng)
    kept_BG = _parts(rows, length - lost, count, rng)
    sizes = np.stack([kept_BG, gap_BG], 2).reshape(rows, -1)
    inside = np.tile([False, True], count)
    return np.stack([np.repeat(inside, row) for row in sizes])


def _parts(rows: int, total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(B, G) random whole numbers from 1 whose sum is `total`, all such partitions alike."""
    cuts = rng.random((rows, total - 1)).argsort(1)[:, : count - 1] + 1
    edges = np.sort(cuts, 1)
    ends = np.concatenate([np.zeros((rows, 1), int), edges, np.full((rows, 1), total)], 1)
    return np.diff(ends, axis=1)


def corrupted(ids_BT: np.ndarray, lost_BT: np.ndarray, vocabulary: int) -> tuple[Tensor, Tensor]:
    """(B, I) what the encoder reads, (B, O) what the decoder says, each ending in </s>.

    Text in gaps becomes one sentinel in the input; in the target each sentinel stands in front of
    what it stood for. Sentinels count down from the last token of the vocabulary.
    """
    rows = len(ids_BT)
    before = np.concatenate([np.zeros((rows, 1), bool), lost_BT[:, :-1]], 1)
    begins = lost_BT & ~before
    sentinel = vocabulary - begins.cumsum(1)
    end = np.full((rows, 1), EOS)
    shown = np.where(begins, sentinel, ids_BT)[~lost_BT | begins].reshape(rows, -1)
    said = [
        np.concatenate([np.concatenate([[mark], text]) for mark, text in _gaps_of(*row)])
        for row in zip(ids_BT, lost_BT, begins, sentinel, strict=True)
    ]
    made = np.concatenate([shown, end], 1), np.concatenate([np.stack(said), end], 1)
    return torch.from_numpy(made[0]), torch.from_numpy(made[1])


def _gaps_of(ids: np.ndarray, lost: np.ndarray, begins: np.ndarray, sentinel: np.ndarray) -> list:
    """(sentinel, text) of each gap of a row."""
    starts = np.flatnonzero(begins)
    texts = np.split(ids[lost], np.flatnonzero(begins[lost])[1:])
    return list(zip(sentinel[starts], texts, strict=True))


class Batches:
    """Rows with gaps, drawn from books."""

    def __init__(self, windows: novels.Windows, s: Settings):
        self.windows, self.s = windows, s

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A step's (B, I) and (B, O)."""
        s = self.s
        rows, length, _ = s.rows[rng.choice(len(s.rows), p=[share for *_, share in s.rows])]
        shares = [1 - s.continued - s.restored, s.continued, s.restored]
        return self.some(rows, length, KINDS[rng.choice(len(KINDS), p=shares)], rng)

    def some(
        self, rows: int, length: int, kind: str, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Rows with short gaps (`gaps`, and `restored`: to be said whole), or with the second half
        as the gap (`continued`)."""
        ids = self.windows.draw(rows, length, rng)
        if kind == "continued":
            lost = np.tile(np.arange(length) >= length // 2, (rows, 1))
        else:
            lost = gaps(rows, length, self.s, rng)
        read, said = corrupted(ids, lost, self.s.vocabulary)
        if kind == "restored":
            end = np.full((rows, 1), EOS)
            said = torch.from_numpy(np.concatenate([ids, end], 1).astype(np.int64))
        return read, said


def states(model: T5ForConditionalGeneration, read: Tensor, said: Tensor) -> Tensor:
    """(B * O, D) what the head reads."""
    start = torch.full_like(said[:, :1], PAD)
    encoded = model.encoder(input_ids=read).last_hidden_state
    h = model.decoder(
        input_ids=torch.cat([start, said[:, :-1]], 1),
        encoder_hidden_states=encoded,
        use_cache=False,
    ).last_hidden_state
    return h.flatten(0, 1) * model.config.d_model**-0.5


@torch.no_grad()
def held_out_loss(
    model: T5ForConditionalGeneration, batches: Batches, steps: int
) -> dict[str, float]:
    """Mean loss in nats a token over the whole vocabulary, on the same gaps each time; and with
    each row's text exchanged for another row's, which shows how much the encoder tells."""
    device, found = next(model.parameters()).device, {}
    for name in KINDS:
        rng, sums = np.random.default_rng(1), np.zeros(2)
        for _ in range(steps):
            drawn = batches.some(16, 128, name, rng)
            read, said = (ids.to(device) for ids in drawn)
            for place, text in enumerate((read, read.roll(1, 0))):
                logits = states(model, text, said) @ model.shared.weight.T
                sums[place] += float(F.cross_entropy(logits, said.flatten()))
        for key, total in zip(("", "_other_text"), sums / steps, strict=True):
            found[f"held_out_loss_{name}{key}"] = round(float(total), 4)
    return found


def prepare(files: list[Path], s: Settings, folder: Path) -> tuple[Any, dict[str, Any], Tensor]:
    """Tokenizer, tokens and counted vectors, made once."""
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(files, s)
        tokenizer.save_pretrained(part)
        data = novels.encode(files, tokenizer, "", [])
        np.savez(part / "tokens.npz", **data)
        vectors = novels.meaning(data["ids"], s.vocabulary, s.hidden, seed=s.seed)
        np.save(part / "vectors.npy", vectors.numpy())
        part.replace(folder)
    with np.load(folder / "tokens.npz") as stored:
        data = dict(stored)
    vectors = torch.from_numpy(np.load(folder / "vectors.npy"))
    return T5Tokenizer.from_pretrained(folder), data, vectors


def unigram_loss(batches: Batches, counts_V: np.ndarray, steps: int) -> float:
    """Nats a token of targets under their own frequencies in training, without any reading."""
    rng = np.random.default_rng(1)
    share_V = (counts_V + 1) / (counts_V + 1).sum()
    said = [batches.some(16, 128, "gaps", rng)[1].flatten() for _ in range(steps)]
    return float(-np.log(share_V[torch.cat(said).numpy()]).mean())


def about(model: T5ForConditionalGeneration, s: Settings, record: dict[str, Any]) -> str:
    """The folder's README, with the figures of this run."""
    parameters = sum(p.numel() for p in model.parameters())
    found, corpus = record["held_out"], record["corpus"]
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text2text-generation
tags: [t5, small, tuneoff]
---

# tuneoff-mini-t5

A small T5, made so that tuneoff can run every task for encoder-decoders at once, offline, on an
ordinary laptop. It is a real pretrained model, but a tiny one: use it to try tuneoff, to teach, and
to test; not to build a product on.

| | |
| --- | --- |
| architecture | `T5ForConditionalGeneration`: {s.layers} + {s.layers} layers, hidden {s.hidden}, {s.heads} heads, feed-forward {s.feed_forward}, tied head |
| parameters | {parameters:,}, stored in fp16 (load with `dtype=torch.float32`) |
| tokenizer | unigram pieces, {s.vocabulary:,} tokens with 100 sentinels, learned from the same novels |
| data | {corpus["books"]} English novels, {corpus["tokens"] / 1e6:.1f} million tokens; public domain where copyright ends 70 years after the author's death |
| seen | {record["tokens_seen"] / 1e6:.1f} million tokens in {record["steps"]:,} steps, {record["seconds"] / 60:.0f} minutes of one {record["device"]} |
| loss on {len(corpus["held_out"])} held-out books, nats a token | gaps {found["held_out_loss_gaps"]:.2f}, with another row's text to read {found["held_out_loss_gaps_other_text"]:.2f}, token frequencies alone {found["unigram_loss"]:.2f}; whole rows {found["held_out_loss_restored"]:.2f} and {found["held_out_loss_restored_other_text"]:.2f} |
| made with | `scripts/pretrain_encoder_decoder.py` |
| licence | Apache-2.0, as tuneoff |

## How it was trained

A quarter of a row stands in gaps of three tokens on average, each gap marked by a sentinel, and
the decoder says what stood in them (T5's span corruption), or the whole row as it was (BART's text
infilling; {s.restored:.0%} of the steps); in {s.continued:.0%} of the steps the one gap is the row's second half. Token vectors start from co-occurrence counts (PPMI, then a truncated SVD). Muon
trains the layers' matrices, AdamW the rest; the rate rises for a moment and falls to zero in a line.
All settings, the corpus hash and the loss curve are in `training.json`.
"""  # noqa: E501 - rows of a table


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--novels", type=Path, required=True, help="folder of plain-text books")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain_encoder_decoder"))
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
    batches, held_batches = Batches(windows, s), Batches(held, s)
    say(f"{len(files)} books, {len(data['ids']):,} tokens, {held.bytes_per_token:.2f} bytes each")
    model = build_model(s, vectors)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}")
    before = held_out_loss(model, held_batches, 2)
    say(f"before training: {before}")

    # what the decoder says: text, a sentinel in front of each gap, and the end
    counts_V = np.zeros(s.vocabulary, np.int64)
    rng = np.random.default_rng(2)
    for _ in range(100):
        counts_V += np.bincount(batches.draw(rng)[1].flatten().numpy(), minlength=s.vocabulary)
    blocks = [model.encoder.block, model.decoder.block]
    matrices = [
        p
        for stack in blocks
        for name, p in stack.named_parameters()
        if p.ndim == 2 and "relative" not in name
    ]
    known = {id(p) for p in matrices} | {id(model.shared.weight)}
    others = [p for p in model.parameters() if id(p) not in known]
    rates = {"matrix": s.matrix_rate, "table": s.table_rate, "other": s.other_rate}
    opts = pretraining.optimizers(matrices, model.shared.weight, others, rates, s.weight_decay)
    part = pretraining.SampledSoftmax(counts_V, s.frequent, s.sampled)
    whole = pretraining.SampledSoftmax(counts_V, s.frequent, 0)

    def losses_of(rng: np.random.Generator, progress: float) -> tuple[dict[str, Tensor], int]:
        read, said = (ids.to(device) for ids in batches.draw(rng))
        scored = whole if progress > 1 - s.whole_softmax else part
        h = states(model, read, said)
        loss = scored.loss(h, model.shared.weight, said.flatten(), rng)
        return {"loss": loss}, read.numel() + said.numel()

    work = args.work / f"training-{novels.key(corpus_hash, asdict(s))}"
    work.mkdir(exist_ok=True)
    spent = pretraining.train(
        model,
        opts,
        losses_of,
        lambda: held_out_loss(model, held_batches, 4),
        work,
        args.minutes,
        args.steps,
        s.seed,
    )
    record = {
        "what": "what stood in the gaps of a text, and how a text goes on",
        "settings": asdict(s),
        "corpus": {
            "books": len(files),
            "sha256": corpus_hash,
            "tokens": len(data["ids"]),
            "held_out": [files[place].name for place in novels.held_out_books(len(files))],
            "held_out_bytes_per_token": round(float(held.bytes_per_token), 4),
        },
        "held_out": {
            "unigram_loss": round(unigram_loss(held_batches, counts_V, 20), 4),
            "before_training": before,
            **held_out_loss(model, held_batches, 10),
        },
        "versions": {"torch": torch.__version__},
        **spent,
    }
    model.config.dropout_rate = 0.1  # for those who fine-tune; pretraining used none
    pretraining.save_folder(model, tokenizer, record, about(model, s, record), args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    say(f"folder: {args.out}, {size / 1e6:.1f} MB, {record['held_out']}")


if __name__ == "__main__":
    main()
