"""Tokenizers for tests: small ones made here, and the real ones of ../shared/data where present."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not (SHARED / "tokenizers" / name).is_dir(), reason="no shared data"
        ),
    )
    for name in ("bert-base-uncased", "gpt2", "roberta-base", "t5-small")
]
ALL = ["encoder", "decoder", *REAL]
_WORDS = [
    "the",
    "a",
    "film",
    "was",
    "good",
    "bad",
    "and",
    "not",
    "very",
    "it",
    "liked",
    ".",
    ",",
    "!",
]


@cache
def tokenizer(name: str) -> Any:
    """`encoder` (adds [CLS] and [SEP], has segments), `decoder` (adds nothing), or a real one."""
    from transformers import AutoTokenizer

    if name in ("encoder", "decoder"):
        return _small(encoder=name == "encoder")
    return AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name)


def _small(*, encoder: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "<end>"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    vocabulary = {
        word: index for index, word in enumerate(dict.fromkeys([*special, *_WORDS, *pieces]))
    }
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if not encoder:
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            unk_token="[UNK]",
            eos_token="<end>",
            model_input_names=["input_ids", "attention_mask"],
        )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def real_rows(name: str, split: str, count: int) -> list[dict[str, str]]:
    """The first rows of a real dataset, read by Python's own csv module."""
    import csv

    path = SHARED / name / f"{split}.csv"
    if not path.exists():
        pytest.skip("no shared data")
    with path.open(encoding="utf-8", newline="") as file:
        return [row for _, row in zip(range(count), csv.DictReader(file), strict=False)]
