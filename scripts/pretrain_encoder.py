"""Make tuneoff's built-in encoder: English novels in, a small BERT folder out.

    python scripts/pretrain_encoder.py --novels ../shared/data/novels --minutes 50 15

One command does all of it, on one CPU core or on a GPU where there is one:

1. tokenizer   lower-case WordPiece, learned from the novels
2. tokens      all novels as one array of token ids, two books held out
3. vectors     token embeddings before any training: PPMI co-occurrence counts, then a truncated SVD
4. training    masked tokens, and a sentence objective: the pooled [CLS] of a row must name, without
               order, the words that were masked in the row and in the row beside it; in a second
               phase those of feeling alone, and whether they praise (see `feelings.py`)
5. folder      Hugging Face layout, weights in fp16, with the settings and the loss curve

A small budget shapes every choice: counting over all of the corpus gives the embeddings their
meaning before the first step is taken, and they then move slowly; rows are full (no padding);
words that carry meaning are masked more often than "the"; only masked positions are scored, and
those against the frequent tokens and a sample of the others.
Stages 1 to 3 are kept in --work and reused; training continues from its last checkpoint there.
`--minutes` lets the learning rate reach zero when the time is over; `--steps` fixes the number of
steps instead, which makes a run repeatable.

Axes: B rows, T tokens in a row, M masked tokens, D hidden size, V vocabulary, P pairs.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast
from transformers.models.bert.modeling_bert import BertPooler

import novels
import pretraining
from feelings import Feelings, polarity
from pretraining import SampledSoftmax

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
FOLDER = Path(__file__).resolve().parents[1] / "src/tuneoff/backbones/builtin/tuneoff-mini-bert"


@dataclass(frozen=True)
class Phase:
    """One of the two parts of training: its rows and its rates, which rise and fall anew."""

    lengths: tuple[tuple[int, float], ...]  # row length -> share of the steps
    matrix_rate: float  # Muon, on the matrices inside the layers
    table_rate: float  # AdamW, on token embeddings: they know much before the first step
    other_rate: float  # AdamW, on positions, biases, norms, pooler and heads


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the weights, apart from the corpus and the time."""

    seed: int = 0
    vocabulary: int = 16384
    hidden: int = 192
    feed_forward: int = 384
    layers: int = 3
    heads: int = 4
    positions: int = 256
    window: int = 12  # co-occurrence window, in tokens
    tokens_per_step: int = 4096
    masked: float = 0.35  # of the tokens whose share of the corpus is below `seldom`;
    seldom: float = 1e-3  # above it, the share of masked ones falls with the root of the frequency
    books_per_step: int = 8
    frequent: int = 2048  # output tokens that are always scored
    sampled: int = 1024  # of the others, drawn anew for each step
    pooled_weight: float = 0.5
    table_norm: float = 1.0  # of a token's vector while training
    table_scale: float = 0.05  # root mean square of a token's coordinates in the folder
    feelings: int = 700  # words of praise, and as many of blame
    feelings_share: float = 6e-4  # of the corpus, above which a word is none of feeling
    feelings_masked: float = 0.5  # of them
    named_weight: float = 0.5
    judged_weight: float = 1.0
    beside_weight: float = 0.3  # of the neighbour's words against a row's own
    # short rows are what most classification tasks look like
    first: Phase = Phase(((32, 0.2), (64, 0.7), (128, 0.1)), 3e-3, 1e-4, 2e-3)
    second: Phase = Phase(((32, 0.6), (64, 0.4)), 1.5e-3, 2e-4, 1e-3)
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of a phase; from there the rate falls linearly to zero


# ---------------------------------------------------------------------- corpus and tokenizer


def read_book(file: Path) -> list[str]:
    """A book's paragraphs, one a line."""
    text = file.read_text(encoding="utf-8-sig", errors="replace").replace("_", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


def train_tokenizer(files: list[Path], s: Settings) -> BertTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=s.vocabulary, special_tokens=SPECIAL, limit_alphabet=100, show_progress=False
    )
    tokenizer.train_from_iterator((line for file in files for line in read_book(file)), trainer)
    # The trainer breaks ties by chance; in alphabetical order the same corpus gives the same ids.
    order = SPECIAL + sorted(set(tokenizer.get_vocab()) - set(SPECIAL))
    tokenizer.model = models.WordPiece(
        {token: i for i, token in enumerate(order)}, unk_token="[UNK]"
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return BertTokenizerFast(
        tokenizer_object=tokenizer, do_lower_case=True, model_max_length=s.positions
    )


def encode_corpus(files: list[Path], tokenizer: BertTokenizerFast) -> dict[str, np.ndarray]:
    """Token ids of all books, the places where a sentence starts, and where each book starts."""
    fast = tokenizer.backend_tokenizer
    ends = [tokenizer.convert_tokens_to_ids(mark) for mark in ".!?"]
    ids: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    books = [0]
    total = 0
    for file in files:
        for encoding in fast.encode_batch_fast(read_book(file), add_special_tokens=False):
            line = np.array(encoding.ids, dtype=np.uint16)
            after_end = np.flatnonzero(np.isin(line[:-1], ends)) + 1
            starts.append(total + np.concatenate([[0], after_end]))
            ids.append(line)
            total += len(line)
        books.append(total)
    return {
        "ids": np.concatenate(ids),
        "starts": np.concatenate(starts).astype(np.int64),
        "books": np.array(books, dtype=np.int64),
    }


# ---------------------------------------------------------------------- the model


def build_model(s: Settings, vectors: Tensor, counts: np.ndarray) -> BertForMaskedLM:
    """A fresh BERT with counted token vectors, and frequencies in the output's bias."""
    torch.manual_seed(s.seed)
    config = BertConfig(
        vocab_size=s.vocabulary,
        hidden_size=s.hidden,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        intermediate_size=s.feed_forward,
        max_position_embeddings=s.positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=PAD,
    )
    # Written-out attention is a quarter faster than the fused kernel at these shapes on a CPU.
    model = BertForMaskedLM._from_config(config, attn_implementation="eager")
    model.bert.pooler = _pooler(config)
    with torch.no_grad():
        table = model.bert.embeddings
        places = 0.3 * F.normalize(pretraining.sinusoids(s.positions, s.hidden))
        table.word_embeddings.weight.copy_(s.table_norm * vectors)
        table.position_embeddings.weight.copy_(s.table_norm * places)
        table.token_type_embeddings.weight.mul_(0.1)
        model.cls.predictions.transform.LayerNorm.weight.fill_(0.5)
        share = torch.from_numpy((counts + 1) / (counts + 1).sum())
        model.cls.predictions.bias.copy_(share.log())
    return model


def _pooler(config: BertConfig) -> torch.nn.Module:
    pooler = BertPooler(config)
    torch.nn.init.orthogonal_(pooler.dense.weight, gain=0.4)  # tanh is then hardly saturated
    torch.nn.init.zeros_(pooler.dense.bias)
    return pooler


# ---------------------------------------------------------------------- batches


@dataclass
class Batch:
    ids: Tensor  # (B, T)
    types: Tensor  # (B, T)
    positions: Tensor  # (B, T)
    masked: Tensor  # (B, T), bool
    truth: Tensor  # (M,)
    shown: Tensor  # (S,), the output tokens that are scored

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


class Rows:
    """Full rows of text: the first half of a batch, and what follows each of them in its book."""

    def __init__(self, data: dict[str, np.ndarray], books: list[int], s: Settings) -> None:
        self.ids, self.s = data["ids"], s
        margin = 2 * s.positions + 64
        edges = data["books"]
        self.starts = data["starts"]
        self.ranges = []  # of starts, by book
        for book in books:
            low, high = np.searchsorted(self.starts, [edges[book], edges[book + 1] - margin])
            if high > low:
                self.ranges.append((low, high))
        sizes = np.array([high - low for low, high in self.ranges], dtype=np.float64)
        self.shares = sizes / sizes.sum()
        counts_V = np.bincount(self.ids, minlength=s.vocabulary)
        share_V = counts_V / len(self.ids)
        self.masked_V = s.masked * np.minimum(1, np.sqrt(s.seldom / np.maximum(share_V, 1e-9)))
        self.masked_V[: len(SPECIAL)] = 0
        self.softmax = SampledSoftmax(counts_V, s.frequent, s.sampled)

    def mask_more(self, tokens: np.ndarray, share: float) -> None:
        """Mask at least this share of these tokens."""
        self.masked_V[tokens] = np.maximum(self.masked_V[tokens], share)

    def draw(self, length: int, rng: np.random.Generator) -> Batch:
        """A batch whose rows i and B/2 + i are neighbours in a book."""
        s = self.s
        pairs = s.tokens_per_step // length // 2
        books = rng.choice(len(self.ranges), size=s.books_per_step, p=self.shares)
        low_high = np.array(self.ranges)[books[np.arange(pairs) % s.books_per_step]]
        first = self.starts[rng.integers(low_high[:, 0], low_high[:, 1])]
        # Long rows hold two segments, so that the second token type is known too.
        two = length >= 128
        body = length - (3 if two else 2)
        second = self.starts[np.searchsorted(self.starts, first + body)]
        begin = np.concatenate([first, second])
        text = self.ids[begin[:, None] + np.arange(body)].astype(np.int64)
        rows = len(begin)
        cls, sep = np.full((rows, 1), CLS), np.full((rows, 1), SEP)
        types = np.zeros((rows, length), dtype=np.int64)
        if two:
            half = body // 2
            text = np.concatenate([cls, text[:, :half], sep, text[:, half:], sep], axis=1)
            types[:, half + 2 :] = 1
        else:
            text = np.concatenate([cls, text, sep], axis=1)
        # A third of the rows stand further back, so that late positions learn from short rows.
        offset = rng.integers(0, s.positions - length + 1, size=(rows, 1))
        offset *= rng.random((rows, 1)) < 1 / 3
        positions = np.arange(length) + offset
        positions[:, 0] = 0
        # 80 % [MASK], 10 % a random token, 10 % unchanged, as in BERT.
        masked = rng.random(text.shape) < self.masked_V[text]
        truth = text[masked]
        fate = rng.random(len(truth))
        shown = np.where(fate < 0.8, MASK, truth)
        shown = np.where(fate >= 0.9, rng.integers(len(SPECIAL), s.vocabulary, len(truth)), shown)
        text[masked] = shown
        arrays = (text, types, positions, masked, truth)
        return Batch(*(torch.from_numpy(array) for array in arrays), self.softmax.shown(rng))


# ---------------------------------------------------------------------- training


class Words(torch.nn.Module):
    """Scores words against the token table and its bias, from the tokens or from pooled vectors."""

    def __init__(self, model: BertForMaskedLM, softmax: SampledSoftmax, s: Settings) -> None:
        super().__init__()
        self.model = [model]  # its weights are not this module's own
        self.pooled = torch.nn.Linear(s.hidden, s.hidden)
        self.softmax = softmax

    def loss(self, hidden_ND: Tensor, row_M: Tensor | None, batch: Batch) -> Tensor:
        """Mean cross entropy of the masked tokens, token i from hidden row `row_M[i]` (or i)."""
        decoder = self.model[0].cls.predictions.decoder
        return self.softmax.loss(
            hidden_ND,
            decoder.weight,
            batch.truth,
            shown_S=batch.shown,
            bias_V=decoder.bias,
            row_M=row_M,
        )


def hidden_states(model: BertForMaskedLM, batch: Batch) -> Tensor:
    """Last hidden states, (B, T, D), without an attention mask: there is no padding."""
    hidden_BTD = model.bert.embeddings(
        batch.ids, token_type_ids=batch.types, position_ids=batch.positions
    )
    for layer in model.bert.encoder.layer:
        out = layer(hidden_BTD)
        hidden_BTD = out[0] if isinstance(out, tuple) else out
    return hidden_BTD


def losses(
    model: BertForMaskedLM, words: Words, feelings: Feelings | None, batch: Batch, s: Settings
) -> dict[str, Tensor]:
    """`loss`, the one that is trained, and its parts: of masked tokens; and of naming, from the
    pooled vector of their row and of its neighbour, all masked words, or those of feeling alone."""
    hidden_BTD = hidden_states(model, batch)
    token = words.loss(model.cls.predictions.transform(hidden_BTD[batch.masked]), None, batch)
    pooled_BD = model.bert.pooler(hidden_BTD)
    row_M = batch.masked.nonzero()[:, 0]
    beside_M = (row_M + len(batch.ids) // 2) % len(batch.ids)
    if feelings is not None:
        table_VD = model.bert.embeddings.word_embeddings.weight
        found = feelings.losses(pooled_BD, table_VD, row_M, beside_M, batch.truth)
        named = found["named"] + s.beside_weight * found["named_beside"]
        judged = found["judged"] + s.beside_weight * found["judged_beside"]
        total = token + s.named_weight * named + s.judged_weight * judged
        return {"loss": total, "token_loss": token} | found
    pooled_BD = words.pooled(pooled_BD)
    pooled = (words.loss(pooled_BD, row_M, batch) + words.loss(pooled_BD, beside_M, batch)) / 2
    return {"loss": token + s.pooled_weight * pooled, "token_loss": token, "pooled_loss": pooled}


def optimizers(
    model: BertForMaskedLM, heads: torch.nn.Module, phase: Phase, s: Settings
) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if ".layer." in n and p.ndim == 2]
    # The large epsilon keeps tokens that were only ever the wrong answer where counting put them.
    table = [model.bert.embeddings.word_embeddings.weight, model.cls.predictions.decoder.bias]
    known = {id(p) for p in matrices + table}
    others = [p for p in model.parameters() if id(p) not in known] + list(heads.parameters())
    opts = [
        pretraining.Muon(matrices, lr=phase.matrix_rate, weight_decay=s.weight_decay),
        torch.optim.AdamW(
            table, lr=phase.table_rate, betas=(0.9, 0.999), eps=1e-6, weight_decay=0, fused=True
        ),
        torch.optim.AdamW(
            others, lr=phase.other_rate, betas=(0.9, 0.98), weight_decay=s.weight_decay, fused=True
        ),
    ]
    for optimizer in opts:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return opts


@torch.no_grad()
def held_out(model: BertForMaskedLM, rows: Rows, s: Settings, cast) -> dict[str, float]:
    """Masked-token loss over the whole vocabulary on the held-out books, on the same masked text
    each time, by row length."""
    device = next(model.parameters()).device
    figures: dict[str, float] = {}
    for length in (64, 256):
        rng = np.random.default_rng(s.seed + 1)
        parts = []
        for _ in range(3):
            batch = rows.draw(length, rng).to(device)
            with cast():
                logits_MV = model.cls(hidden_states(model, batch)[batch.masked])
            parts.append(F.cross_entropy(logits_MV.float(), batch.truth))
        figures[f"token_loss_{length}"] = round(torch.stack(parts).mean().item(), 4)
    return figures


@torch.no_grad()
def scale_table(model: BertForMaskedLM, s: Settings) -> None:
    """Give the embeddings the size in which the folder keeps them; the outputs stay the same.

    A normalization follows the embeddings, so their size is free; but fine-tuning with AdamW moves
    every coordinate by about the learning rate, whatever its size. In a large table the words keep
    their places among each other, and a rate that suits the layers does not wipe them out.
    """
    table = model.bert.embeddings
    factor = s.table_scale / table.word_embeddings.weight.square().mean().sqrt()
    for part in (table.word_embeddings, table.position_embeddings, table.token_type_embeddings):
        part.weight.mul_(factor)
    norm = model.cls.predictions.transform.LayerNorm  # the table is the output matrix too
    norm.weight.div_(factor)
    norm.bias.div_(factor)


# ---------------------------------------------------------------------- the folder


def about(model: BertForMaskedLM, s: Settings, record: dict) -> str:
    """The folder's README, with the figures of this run."""
    parameters = sum(p.numel() for p in model.parameters())
    corpus, found = record["corpus"], record["held_out"]
    first, second = record["phases"]["first"], record["phases"]["second"]
    tokens, steps, seconds = (
        first[name] + second[name] for name in ("tokens_seen", "steps", "seconds")
    )
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: fill-mask
tags: [bert, small, tuneoff]
---

# tuneoff-mini-bert

A small BERT, made so that tuneoff can show a contest between fine-tuning methods at once, offline,
on an ordinary laptop. It is a real pretrained encoder, but a tiny one: use it to try tuneoff, to
teach, and to test; not to build a product on.

| | |
| --- | --- |
| architecture | `BertForMaskedLM`: {s.layers} layers, hidden {s.hidden}, {s.heads} heads, feed-forward {s.feed_forward}, {s.positions} positions |
| parameters | {parameters:,}, stored in fp16 (load with `dtype=torch.float32`) |
| tokenizer | WordPiece, lower-case, {s.vocabulary:,} tokens, learned from the same novels |
| data | {corpus["books"]} English novels, 1839 to 1937, {corpus["tokens"] / 1e6:.1f} million tokens; public domain where copyright ends 70 years after the author's death |
| seen | {tokens / 1e6:.1f} million tokens in {steps:,} steps, {seconds / 60:.0f} minutes of one {first["device"]} |
| masked-token loss on two held-out books | {found["token_loss_64"]:.2f} nats in rows of 64, {found["token_loss_256"]:.2f} in rows of 256 |
| made with | `scripts/pretrain_encoder.py` |
| licence | Apache-2.0, as tuneoff |

## How it was trained

Token embeddings start from co-occurrence counts over all of the novels (PPMI, then a truncated SVD)
and move slowly from there. Training has two objectives on full rows of 32 to 128 tokens: masked
tokens ({s.masked:.0%} of the seldom ones, fewer of the frequent), and naming, from the pooled `[CLS]`
alone and without order, the words that were masked in its row and in the row beside it. The last
{second["steps"]:,} steps ask there for words of feeling alone, and whether they praise or blame: {2 * s.feelings:,}
words, found by counting from ten seeds of each; no labelled text was used.
Muon trains the layers' matrices, AdamW the rest; the rate rises for a moment and falls to zero in
a line. All settings, the corpus hash and the loss curve are in `training.json`; figures on SST-5
against the same network from random weights are in `docs/backbones.md` of tuneoff.
"""  # noqa: E501 - rows of a table


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--novels", type=Path, required=True, help="folder of plain-text books")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain_encoder"))
    parser.add_argument(
        "--minutes", type=float, nargs=2, default=(50, 15), help="time for the two phases alone"
    )
    parser.add_argument("--steps", type=int, nargs=2, help="of the phases, instead of --minutes")
    parser.add_argument("--vocabulary", type=int, default=Settings.vocabulary)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    s = replace(Settings(), vocabulary=args.vocabulary)
    args.work.mkdir(parents=True, exist_ok=True)
    clock = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - clock:6.0f} s] {text}", flush=True)

    files, corpus_hash = novels.read_corpus(args.novels)
    say(f"corpus: {len(files)} books, sha256 {corpus_hash[:16]}")

    prepared = (
        args.work / f"prepared-{novels.key(corpus_hash, s.seed, s.vocabulary, s.hidden, s.window)}"
    )
    if not prepared.exists():
        part = prepared.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(files, s)
        tokenizer.save_pretrained(part)
        say(f"tokenizer: {len(tokenizer)} tokens")
        data = encode_corpus(files, tokenizer)
        np.savez(part / "tokens.npz", **data)
        say(f"tokens: {len(data['ids']):,}, {len(data['starts']):,} sentences")
        vectors = novels.meaning(data["ids"], s.vocabulary, s.hidden, s.window, s.seed)
        np.save(part / "vectors.npy", vectors.numpy())
        part.replace(prepared)
    tokenizer = BertTokenizerFast.from_pretrained(prepared)
    with np.load(prepared / "tokens.npz") as stored:
        data = dict(stored)
    vectors = torch.from_numpy(np.load(prepared / "vectors.npy"))
    known = tokenizer.get_vocab()
    for word in filter(known.get, ("happy", "terrible", "river", "dull")):
        own = tokenizer.convert_tokens_to_ids(word)
        near = F.cosine_similarity(vectors[own][None], vectors).nan_to_num(-1).topk(7).indices[1:]
        say(f"vectors: {word} ~ {' '.join(tokenizer.convert_ids_to_tokens(near.tolist()))}")

    model = build_model(s, vectors, np.bincount(data["ids"], minlength=s.vocabulary))
    say(f"model: {sum(p.numel() for p in model.parameters()):,} parameters")
    kept_back = novels.held_out_books(len(files))
    rows = Rows(data, [book for book in range(len(files)) if book not in kept_back], s)
    held_rows = Rows(data, kept_back, s)
    work = args.work / f"training-{novels.key(corpus_hash, asdict(s), args.minutes, args.steps)}"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def cast() -> AbstractContextManager:
        # bf16 is two to three times faster than fp32 on CPUs with avx512_bf16, and slow without.
        fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()

    def train(name: str, place: int, phase: Phase, feelings: Feelings | None) -> dict:
        """One phase, to the end of its budget."""
        say(f"{name} phase")
        torch.manual_seed(s.seed + 1)
        words = Words(model, rows.softmax, s)
        heads = torch.nn.ModuleList([words, *([feelings] if feelings else [])])
        trained = torch.nn.ModuleList([model, heads]).to(device).train()
        lengths, shares = zip(*phase.lengths, strict=True)

        def losses_of(rng: np.random.Generator, _: float) -> tuple[dict[str, Tensor], int]:
            batch = rows.draw(int(rng.choice(lengths, p=shares)), rng).to(device)
            with cast():
                return losses(model, words, feelings, batch, s), batch.ids.numel()

        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        return pretraining.train(
            trained,
            optimizers(model, heads, phase, s),
            losses_of,
            lambda: held_out(model, held_rows, s, cast),
            folder,
            args.minutes[place],
            args.steps[place] if args.steps else None,
            s.seed + place,
            s.warmup,
        )

    spent = {"first": train("first", 0, s.first, None)}
    counts_V = np.bincount(data["ids"], minlength=s.vocabulary)
    found_V = polarity(vectors, counts_V, tokenizer, s.feelings_share)
    feelings = Feelings(found_V, counts_V, s.feelings, s.hidden)
    rows.mask_more(feelings.words.numpy(), s.feelings_masked)
    spent["second"] = train("second", 1, s.second, feelings)
    scale_table(model, s)
    record = {
        "what": "masked tokens; and, from pooled [CLS], the masked words of a row and its "
        "neighbour, in the second phase those of feeling alone",
        "settings": asdict(s),
        "corpus": {"books": len(files), "sha256": corpus_hash, "tokens": len(data["ids"])},
        "held_out": held_out(model, held_rows, s, cast),
        "versions": {"torch": torch.__version__},
        "phases": spent,
    }
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(model.config, name, 0.1)  # for those who fine-tune; pretraining used none
    pretraining.save_folder(model, tokenizer, record, about(model, s, record), args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    say(f"folder: {args.out}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
