"""Novels as numbers: text files to paragraphs, tokens, and what counting knows about the tokens.

Shared by the scripts that pretrain the built-in decoder and encoder-decoder.
Axes: V vocabulary, D hidden size, C context tokens, B rows, T tokens in a row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


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


def paragraphs(file: Path) -> list[str]:
    """A book's paragraphs, each on one line, without the marks of emphasis.

    Some books break their lines at a fixed width and part paragraphs by an empty line; others have
    a paragraph on each line.
    """
    text = file.read_text(encoding="utf-8-sig", errors="replace").replace("_", "")
    lines = [line.strip() for line in text.splitlines()]
    lengths = [len(line) for line in lines if line]
    if np.mean([length > 90 for length in lengths]) < 0.05:
        lines = re.split(r"\n{2,}", "\n".join(lines))
    return [" ".join(line.split()) for line in lines if line]


def encode(files: list[Path], tokenizer: Any, between: str, after: list[int]) -> dict[str, Any]:
    """`ids`: tokens of all books end to end; `books`: where each begins, and the end; `bytes`: of
    each book's text. between: text between two paragraphs; after: token ids after each book."""
    fast = tokenizer.backend_tokenizer
    parts, edges, sizes = [], [0], []
    for file in files:
        texts = [text + between for text in paragraphs(file)]
        encoded = fast.encode_batch_fast(texts, add_special_tokens=False)
        parts += [np.array(one.ids, dtype=np.uint16) for one in encoded]
        parts.append(np.array(after, dtype=np.uint16))
        edges.append(edges[-1] + sum(len(one.ids) for one in encoded) + len(after))
        sizes.append(sum(len(text.encode()) for text in texts))
    return {"ids": np.concatenate(parts), "books": np.array(edges), "bytes": np.array(sizes)}


def lines_of(files: list[Path], every: int = 1) -> Iterator[str]:
    """Each `every`-th paragraph of all books, for a tokenizer to learn from."""
    for file in files:
        yield from paragraphs(file)[::every]


def held_out_books(count: int) -> list[int]:
    """One in fifty books; of a few, the last."""
    return list(range(25, count, 50)) or [count - 1]


class Windows:
    """Windows of text, from the books to learn from or from those that are held out."""

    def __init__(self, data: dict[str, Any], held_out: bool):
        self.ids = data["ids"]
        kept_back = held_out_books(len(data["bytes"]))
        books = [b for b in range(len(data["bytes"])) if (b in kept_back) == held_out]
        self.ranges = np.stack([data["books"][books], data["books"][[b + 1 for b in books]]], 1)
        sizes = np.diff(self.ranges)[:, 0]
        self.shares = sizes / sizes.sum()
        self.bytes_per_token = data["bytes"][books].sum() / sizes.sum()

    def draw(self, rows: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """(B, T) int64, places in the books drawn evenly."""
        low_high = self.ranges[rng.choice(len(self.ranges), rows, p=self.shares)]
        begin = rng.integers(low_high[:, 0], low_high[:, 1] - length)
        return self.ids[begin[:, None] + np.arange(length)].astype(np.int64)

    def tiles(self, length: int) -> Iterator[np.ndarray]:
        """(B, T) of each book, end to end, without what does not fill a row."""
        for low, high in self.ranges:
            rows = (high - low) // length
            yield self.ids[low : low + rows * length].reshape(rows, length).astype(np.int64)


def counts_of(windows: Windows, vocabulary: int) -> np.ndarray:
    """(V,) how often each token stands in these books."""
    parts = [np.bincount(windows.ids[a:b], minlength=vocabulary) for a, b in windows.ranges]
    return np.sum(parts, 0)


def meaning(
    ids: np.ndarray, vocabulary: int, hidden: int, window: int = 8, seed: int = 0
) -> Tensor:
    """Directions of the tokens' meaning before any training: (V, D), rows of length one.

    PPMI(a, b) = max(0, log p(a, b) / (p(a) p(b)^0.75)) over pairs in a window, contexts b being the
    4,096 most frequent tokens; then the left singular vectors, without their singular values.
    Source: Levy, Goldberg and Dagan 2015, "Improving Distributional Similarity with Lessons
    Learned from Word Embeddings" (context smoothing 0.75, eigenvalue weighting 0).
    """
    contexts = min(4096, vocabulary)
    wide = ids.astype(np.int64)
    column_V = np.full(vocabulary, -1)
    order = np.argsort(-np.bincount(wide, minlength=vocabulary), kind="stable")
    column_V[order[:contexts]] = np.arange(contexts)
    context = column_V[wide]
    counts_VC = np.zeros(vocabulary * contexts, dtype=np.float32)
    for distance in range(1, window + 1):
        for token, beside in (
            (wide[:-distance], context[distance:]),
            (wide[distance:], context[:-distance]),
        ):
            pairs = (token * contexts + beside)[beside >= 0]
            counts_VC += np.bincount(pairs, minlength=len(counts_VC)).astype(np.float32)
    counts = torch.from_numpy(counts_VC.reshape(vocabulary, contexts))
    token_V1 = counts.sum(1, keepdim=True).clamp(min=1e-6)
    smooth_1C = counts.sum(0, keepdim=True).clamp(min=1e-6) ** 0.75
    expected = (token_V1 / token_V1.sum()) * (smooth_1C / smooth_1C.sum())
    ppmi = (counts / counts.sum() / expected).clamp(min=1).log()
    torch.manual_seed(seed)
    left, _, _ = torch.svd_lowrank(ppmi, q=hidden + 68, niter=3)
    # A random rotation spreads the strong directions over all coordinates and heads.
    rotation, _ = torch.linalg.qr(torch.randn(hidden, hidden))
    vectors = left[:, :hidden] @ rotation
    norm = vectors.norm(dim=1, keepdim=True)
    random = F.normalize(torch.randn_like(vectors), dim=1)
    return torch.where(norm > 1e-6, vectors / norm.clamp(min=1e-6), random)


def key(*parts: object) -> str:
    """A short name for what a stage depends on, so that nothing stale is reused."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
