"""Make tuneoff's built-in encoder: English novels in, a small BERT folder out.

    python scripts/pretrain_encoder.py --novels ../shared/data/novels --minutes 45

One command does all of it, on one CPU core or on a GPU where there is one:

1. tokenizer   lower-case WordPiece, learned from the novels
2. tokens      all novels as one array of token ids, two books held out
3. vectors     token embeddings before any training: PPMI co-occurrence counts, then a truncated SVD
4. training    masked tokens, and a sentence objective for [CLS]: text that stands side by side
               must have pooled vectors that are closer than text from other places
5. folder      Hugging Face layout, weights in fp16, with the settings and the loss curve

A small budget shapes every choice: rows are full (no padding), the vocabulary is only scored at
masked positions, and counting gives the embeddings their meaning before the first step is taken.
Stages 1 to 3 are kept in --work and reused; training continues from its last checkpoint there.
`--minutes` lets the learning rate reach zero when the time is over; `--steps` fixes the number of
steps instead, which makes a run repeatable.

Axes: B rows, T tokens in a row, M masked tokens, D hidden size, V vocabulary, P pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
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

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
FOLDER = Path(__file__).resolve().parents[1] / "src/tuneoff/backbones/builtin/tuneoff-mini-bert"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes the weights, apart from the corpus and the time."""

    seed: int = 0
    vocabulary: int = 8192
    hidden: int = 192
    layers: int = 3
    heads: int = 4
    positions: int = 256
    window: int = 5  # co-occurrence window, in tokens
    tokens_per_step: int = 4096
    # row length -> share of the steps; short rows are what most classification tasks look like
    lengths: tuple[tuple[int, float], ...] = ((32, 0.3), (64, 0.4), (128, 0.2), (256, 0.1))
    masked: float = 0.2
    books_per_step: int = 8  # few books in a step: negatives then differ in matter, not in author
    pair_weight: float = 0.1
    temperature: float = 0.05
    pooled_spread: float = 0.5  # of the whitened coordinates, before the tanh
    matrix_rate: float = 3e-3  # Muon, on the matrices inside the layers
    other_rate: float = 2e-3  # AdamW, on embeddings, biases, norms, pooler and head
    weight_decay: float = 0.01
    warmup: float = 0.02  # share of the run; from there the rate falls linearly to zero


# ---------------------------------------------------------------------- corpus and tokenizer


def read_corpus(folder: Path) -> tuple[list[Path], str]:
    """The novels in the order of their names, and one hash over names and bytes."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise SystemExit(f"--novels {folder}: no .txt file there; give a folder of books")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return files, digest.hexdigest()


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


# ---------------------------------------------------------------------- counted vectors


def count_vectors(ids: np.ndarray, s: Settings) -> Tensor:
    """Token vectors from positive pointwise mutual information and a truncated SVD: (V, D).

    PPMI(a, b) = max(0, log p(a, b) / (p(a) p(b)^0.75)); a pair at distance d counts 1/d.
    Source: Levy, Goldberg and Dagan 2015, "Improving Distributional Similarity with Lessons
    Learned from Word Embeddings" (context smoothing 0.75, square root of the singular values).
    """
    size = s.vocabulary
    wide = ids.astype(np.int64)
    counts_VV = np.zeros(size * size, dtype=np.float32)
    for distance in range(1, s.window + 1):
        keys = wide[:-distance] * size + wide[distance:]
        counts_VV += np.bincount(keys, minlength=size * size).astype(np.float32) / distance
    counts = torch.from_numpy(counts_VV.reshape(size, size))
    counts = counts + counts.T
    token = counts.sum(1).clamp(min=1e-6)
    context = token**0.75
    expected = (token[:, None] / token.sum()) * (context / context.sum())[None, :]
    ppmi = (counts / counts.sum() / expected).clamp(min=1).log()
    torch.manual_seed(s.seed)
    left, singular, _ = torch.svd_lowrank(ppmi, q=s.hidden + 32, niter=4)
    vectors = (left * singular.sqrt())[:, : s.hidden]
    # A random rotation spreads the strong directions over all coordinates and heads.
    rotation, _ = torch.linalg.qr(torch.randn(s.hidden, s.hidden))
    return vectors @ rotation


def sinusoids(positions: int, hidden: int) -> Tensor:
    """Sines and cosines: positions that were seldom trained still resemble their neighbours."""
    place = torch.arange(positions)[:, None]
    wave = torch.exp(-math.log(10000.0) * torch.arange(0, hidden, 2) / hidden)
    return torch.cat([torch.sin(place * wave), torch.cos(place * wave)], dim=1)


def build_model(s: Settings, vectors: Tensor, counts: np.ndarray) -> BertForMaskedLM:
    """A fresh BERT with counted token vectors, and frequencies in the output's bias."""
    torch.manual_seed(s.seed)
    config = BertConfig(
        vocab_size=s.vocabulary,
        hidden_size=s.hidden,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        intermediate_size=4 * s.hidden,
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
        norm = vectors.norm(dim=1, keepdim=True)
        random = F.normalize(torch.randn_like(vectors), dim=1)
        directions = torch.where(norm > 1e-3, vectors / norm.clamp(min=1e-3), random)
        table.word_embeddings.weight.copy_(0.5 * directions)
        table.position_embeddings.weight.copy_(0.25 * F.normalize(sinusoids(s.positions, s.hidden)))
        table.token_type_embeddings.weight.mul_(0.1)
        share = torch.from_numpy((counts + 1) / (counts + 1).sum())
        model.cls.predictions.bias.copy_(share.log())
    return model


def _pooler(config: BertConfig) -> torch.nn.Module:
    pooler = BertPooler(config)
    torch.nn.init.orthogonal_(pooler.dense.weight)
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
        masked = (rng.random(text.shape) < s.masked) & (text >= len(SPECIAL))
        truth = text[masked]
        fate = rng.random(len(truth))
        shown = np.where(fate < 0.8, MASK, truth)
        shown = np.where(fate >= 0.9, rng.integers(len(SPECIAL), s.vocabulary, len(truth)), shown)
        text[masked] = shown
        arrays = (text, types, positions, masked, truth)
        return Batch(*(torch.from_numpy(array) for array in arrays))


# ---------------------------------------------------------------------- training


def losses(model: BertForMaskedLM, batch: Batch, s: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Masked-token loss, pair loss, and how often a row finds its neighbour."""
    hidden_BTD = model.bert.embeddings(
        batch.ids, token_type_ids=batch.types, position_ids=batch.positions
    )
    for layer in model.bert.encoder.layer:  # no attention mask: there is no padding
        out = layer(hidden_BTD)
        hidden_BTD = out[0] if isinstance(out, tuple) else out
    logits_MV = model.cls(hidden_BTD[batch.masked])
    token_loss = F.cross_entropy(logits_MV.float(), batch.truth)
    pooled_BD = F.normalize(model.bert.pooler(hidden_BTD).float(), dim=1)
    first_PD, second_PD = pooled_BD.chunk(2)
    scores_PP = first_PD @ second_PD.T / s.temperature
    own_P = torch.arange(len(scores_PP), device=scores_PP.device)
    pair_loss = (F.cross_entropy(scores_PP, own_P) + F.cross_entropy(scores_PP.T, own_P)) / 2
    found = (scores_PP.argmax(1) == own_P).float().mean()
    return token_loss, pair_loss, found


def optimizers(model: BertForMaskedLM, s: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if ".layer." in n and p.ndim == 2]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    muon = torch.optim.Muon(
        matrices, lr=s.matrix_rate, weight_decay=s.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(
        others, lr=s.other_rate, betas=(0.9, 0.98), weight_decay=s.weight_decay
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def rate_at(progress: float, s: Settings) -> float:
    """Share of the peak rate: up in a line, then down in a line to zero."""
    if progress < s.warmup:
        return progress / s.warmup
    return max(0.0, (1 - progress) / (1 - s.warmup))


@torch.no_grad()
def held_out(model: BertForMaskedLM, rows: Rows, s: Settings, cast) -> dict[str, float]:
    """Losses on the held-out books, on the same masked text each time, by row length."""
    device = next(model.parameters()).device
    figures: dict[str, float] = {}
    for length in (64, 256):
        rng = np.random.default_rng(s.seed + 1)
        with cast():
            parts = [losses(model, rows.draw(length, rng).to(device), s) for _ in range(8)]
        means = torch.tensor(parts).mean(0).tolist()
        for name, value in zip(("token_loss", "pair_loss", "pair_found"), means, strict=True):
            figures[f"{name}_{length}"] = round(value, 4)
    return figures


def train(
    model: BertForMaskedLM,
    rows: Rows,
    held_rows: Rows,
    s: Settings,
    work: Path,
    minutes: float,
    steps: int | None,
) -> dict:
    """Train to the end of the budget; returns the loss curve and what was spent."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()

    def cast():
        # bf16 is two to three times faster than fp32 on CPUs with avx512_bf16, and slow without.
        fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()

    opts = optimizers(model, s)
    lengths, shares = zip(*s.lengths, strict=True)
    step, before, curve = 0, 0.0, []
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(opts, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, before, curve = state["step"], state["seconds"], state["curve"]
        print(f"continuing at step {step}, {before / 60:.1f} min done", flush=True)
    began = time.perf_counter()
    saved_at = began
    sums, seen = torch.zeros(3), 0
    while True:
        spent = before + time.perf_counter() - began
        progress = step / steps if steps else spent / (60 * minutes)
        done = progress >= 1
        if (seen == 50 and step % 100 == 0) or done:
            point = {"step": step, "seconds": round(spent, 1)}
            means = (sums / max(seen, 1)).tolist()
            for name, value in zip(("token_loss", "pair_loss", "pair_found"), means, strict=True):
                point[name] = round(value, 4)
            if step % 400 == 0 or done:
                point |= held_out(model, held_rows, s, cast)
            curve.append(point)
            left = spent / max(progress, 1e-9) - spent
            print(f"{json.dumps(point)}  left {left / 60:.1f} min", flush=True)
        if done:
            break
        if seen >= 50:
            sums, seen = torch.zeros(3), 0
        # Each step draws from its own seed: a continued run sees what an unbroken one sees.
        rng = np.random.default_rng([s.seed, step])
        batch = rows.draw(int(rng.choice(lengths, p=shares)), rng).to(device)
        for optimizer in opts:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate_at(progress, s)
        with cast():
            token_loss, pair_loss, found = losses(model, batch, s)
        (token_loss + s.pair_weight * pair_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in opts:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        sums += torch.stack([token_loss, pair_loss, found]).detach().cpu()
        step, seen = step + 1, seen + 1
        if time.perf_counter() - saved_at > 240:
            saved_at = time.perf_counter()
            state = {
                "model": model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in opts],
                "step": step,
                "seconds": before + saved_at - began,
                "curve": curve,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    return {
        "steps": step,
        "tokens_seen": step * s.tokens_per_step,
        "seconds": round(spent, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "curve": curve,
    }


@torch.no_grad()
def whiten_pooler(model: BertForMaskedLM, rows: Rows, s: Settings) -> None:
    """Put a whitening of [CLS] in the pooler's place: tanh(W (h - mean)).

    The pooler that found the neighbours has kept what that takes and dropped the rest. It is thrown
    away, as SimCLR throws its projection head away; what fed it stays, in a form from which a
    linear head learns fast.
    """
    rng = np.random.default_rng([s.seed, 1])
    tops = []
    for _ in range(40):
        batch = rows.draw(32, rng).to(model.device)
        ids = batch.ids.masked_scatter(batch.masked, batch.truth)
        tops.append(model.bert(ids).last_hidden_state[:, 0].float())
    top_ND = torch.cat(tops)
    mean_D = top_ND.mean(0)
    values, vectors = torch.linalg.eigh((top_ND - mean_D).T.cov())
    scale = (values + 0.01 * values.mean()).rsqrt()
    weight_DD = s.pooled_spread * vectors @ torch.diag(scale) @ vectors.T
    model.bert.pooler.dense.weight.copy_(weight_DD)
    model.bert.pooler.dense.bias.copy_(-weight_DD @ mean_D)


# ---------------------------------------------------------------------- the folder


def save_folder(
    model: BertForMaskedLM, tokenizer: BertTokenizerFast, record: dict, folder: Path
) -> None:
    """Write the model beside its place, then move its files in; a README that is there stays."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.cpu().eval()
    model.config.hidden_dropout_prob = 0.1  # for those who fine-tune; pretraining used none
    model.config.attention_probs_dropout_prob = 0.1
    model.to(torch.float16).save_pretrained(part)
    tokenizer.save_pretrained(part)
    facts = part / "tokenizer_config.json"  # without what says where it was loaded from
    kept = json.loads(facts.read_text())
    kept = {name: kept[name] for name in kept if name not in ("is_local", "local_files_only")}
    facts.write_text(json.dumps(kept, indent=2) + "\n")
    (part / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    for file in part.iterdir():
        file.chmod(0o644)
        file.replace(folder / file.name)
    part.rmdir()


def key(*parts: object) -> str:
    """A short name for what a stage depends on, so that nothing stale is reused."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--novels", type=Path, required=True, help="folder of plain-text books")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("build/pretrain_encoder"))
    parser.add_argument("--minutes", type=float, default=45, help="time for training alone")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    s = Settings()
    args.work.mkdir(parents=True, exist_ok=True)
    clock = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - clock:6.0f} s] {text}", flush=True)

    files, corpus_hash = read_corpus(args.novels)
    say(f"corpus: {len(files)} books, sha256 {corpus_hash[:16]}")

    prepared = args.work / f"prepared-{key(corpus_hash, s.seed, s.vocabulary, s.hidden, s.window)}"
    if not prepared.exists():
        part = prepared.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(files, s)
        tokenizer.save_pretrained(part)
        say(f"tokenizer: {len(tokenizer)} tokens")
        data = encode_corpus(files, tokenizer)
        np.savez(part / "tokens.npz", **data)
        say(f"tokens: {len(data['ids']):,}, {len(data['starts']):,} sentences")
        np.save(part / "vectors.npy", count_vectors(data["ids"], s).numpy())
        part.replace(prepared)
    tokenizer = BertTokenizerFast.from_pretrained(prepared)
    with np.load(prepared / "tokens.npz") as stored:
        data = dict(stored)
    vectors = torch.from_numpy(np.load(prepared / "vectors.npy"))
    for word in ("happy", "terrible", "river", "dull"):
        own = tokenizer.convert_tokens_to_ids(word)
        near = F.cosine_similarity(vectors[own][None], vectors).nan_to_num(-1).topk(7).indices[1:]
        say(f"vectors: {word} ~ {' '.join(tokenizer.convert_ids_to_tokens(near.tolist()))}")

    model = build_model(s, vectors, np.bincount(data["ids"], minlength=s.vocabulary))
    say(f"model: {sum(p.numel() for p in model.parameters()):,} parameters")
    books = range(len(files))
    rows = Rows(data, [book for book in books if book % 50 != 25], s)
    held_rows = Rows(data, [book for book in books if book % 50 == 25], s)
    work = args.work / f"training-{key(corpus_hash, asdict(s), args.minutes, args.steps)}"
    work.mkdir(exist_ok=True)
    spent = train(model, rows, held_rows, s, work, args.minutes, args.steps)
    whiten_pooler(model, rows, s)
    record = {
        "what": "masked tokens, and neighbouring rows recognised by their pooled [CLS]",
        "settings": asdict(s),
        "corpus": {"books": len(files), "sha256": corpus_hash, "tokens": len(data["ids"])},
        "versions": {"torch": torch.__version__},
        **spent,
    }
    save_folder(model, tokenizer, record, args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    say(f"folder: {args.out}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
