"""Small models of the published architectures, random weights, for runs that show that a cell runs.

    make("gpt2-medium", Path("tokenizers/gpt2"), Path("models/gpt2-medium"))

The tokenizer is the published one cut down to its first entries: with 50,000 words nearly all time
would go into the output layer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

VOCABULARY = 4096
"""Entries that are kept of a tokenizer, besides its special tokens."""
ANSWERS = ("yes", "no")
"""Kept too: a cloze is answered by one of them."""
BLOCKS = {"gpt2": 4, "gpt2-medium": 5, "gpt2-large": 6}
"""Three sizes stay three sizes, and the smallest has the four blocks that a cell tunes."""
_WIDTH, _INNER, _HEADS = 64, 128, 4


def make(short: str, tokenizer_folder: Path, folder: Path) -> None:
    """A model of the architecture of `short` (`bert-base-uncased`, `gpt2`, ...), seed 0, with a
    smaller tokenizer beside it, in Hugging Face layout."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    smaller_tokenizer(tokenizer_folder, folder)
    tokenizer = t.AutoTokenizer.from_pretrained(str(folder))
    model: Any = t.AutoModel.from_config(small_config(short, tokenizer))
    model.save_pretrained(folder)


def small_config(short: str, tokenizer: Any) -> Any:
    """Few blocks of 64 features."""
    import transformers as t

    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id")
        if getattr(tokenizer, name) is not None
    }
    size = len(tokenizer)
    wide = {
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": _HEADS,
        "intermediate_size": _INNER,
        "vocab_size": size,
        "max_position_embeddings": 514,
    }
    if short.startswith("bert"):
        return t.BertConfig(**wide, pad_token_id=special["pad_token_id"])
    if short.startswith("roberta"):
        return t.RobertaConfig(**wide, **special, type_vocab_size=1)
    if short.startswith("gpt-neo"):
        return t.GPTNeoConfig(
            hidden_size=_WIDTH, num_layers=2, num_heads=_HEADS, vocab_size=size, window_size=64,
            max_position_embeddings=512, intermediate_size=_INNER,
            attention_types=[[["global", "local"], 1]], **special,
        )  # fmt: skip
    if short.startswith("t5"):
        return t.T5Config(
            d_model=_WIDTH, d_kv=16, d_ff=_INNER, num_layers=2, num_heads=_HEADS, vocab_size=size,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
    return t.GPT2Config(
        n_embd=_WIDTH, n_layer=BLOCKS[short], n_head=_HEADS, vocab_size=size, n_positions=1024,
        **special,
    )  # fmt: skip


def smaller_tokenizer(folder: Path, target: Path) -> None:
    """Writes the tokenizer of `folder` with its first entries alone into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "tokenizer_config.json", target)
    whole = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    model, special = whole["model"], whole["added_tokens"]
    kept = _kept(model, {one["content"] for one in special})
    places = {word: place for place, word in enumerate(kept)}
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        model["vocab"] = [[word, scores[word]] for word in kept]
    else:
        model["vocab"] = places
    if model["type"] == "BPE":
        model["merges"] = [pair for pair in model["merges"] if _joined(pair) in places]
    for one in special:
        one["id"] = places[one["content"]]
    (target / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False), "utf-8")


def _kept(model: dict[str, Any], special: set[str]) -> list[str]:
    """What stays of a vocabulary, in its order: what comes first, letters, special tokens. The
    first ids, to which a template of the tokenizer may point, stay as they are."""
    vocabulary = model["vocab"]
    if model["type"] == "Unigram":  # [word, score], by score
        words = [word for word, _ in vocabulary]
    else:
        words = sorted(vocabulary, key=vocabulary.__getitem__)
    letters = {word for word in words if word.isascii() and len(word.removeprefix("##")) == 1}
    if model["type"] == "BPE":  # a word stays with the two that it is made of
        letters = {word for word in words if len(word) == 1} | {*ANSWERS} & {*words}
        wanted = {_joined(pair) for pair in model["merges"][: VOCABULARY - len(letters)]}
    else:
        wanted = set(words[:VOCABULARY])
    wanted |= letters | special
    return [word for word in words if word in wanted]


def _joined(pair: list[str] | str) -> str:
    """The word that a merge makes; older files write a merge as one text."""
    return "".join(pair) if isinstance(pair, list) else pair.replace(" ", "")
