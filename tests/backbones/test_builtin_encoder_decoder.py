"""The shipped encoder-decoder opens as any model does, and listens to what its encoder reads."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import tuneoff
from tuneoff.backbones.names import builtin_names

FOLDER = Path(tuneoff.__file__).parent / "backbones/builtin/tuneoff-mini-t5"
PAGES = (
    "The old man looked at the fire for a long time without a word. At last he rose from his "
    "chair, took his hat, and went to the door.",
    "She had been walking in the garden with her sister all the morning, and they had spoken of "
    "nothing but the ball at Mrs. Hartley's house.",
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForSeq2SeqLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def test_it_is_small_whole_and_says_how_it_was_made(model, tokenizer):
    assert "mini-t5" in builtin_names()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 12e6
    _, found = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.dropout_rate == 0.1
    record = json.loads((FOLDER / "training.json").read_text())
    assert record["corpus"]["sha256"]
    assert len(record["curve"]) > 5
    assert record["held_out"]["held_out_loss_gaps"] < record["held_out"]["unigram_loss"] - 1


@torch.no_grad()
def test_what_it_says_depends_on_what_it_reads(model, tokenizer):
    read = tokenizer(list(PAGES), return_tensors="pt", padding=True)
    said = read["input_ids"].masked_fill(read["attention_mask"] == 0, -100)
    right = model(**read, labels=said).loss.item()
    other = {name: value.flip(0) for name, value in read.items()}  # negative control
    assert right < model(**other, labels=said).loss.item() - 0.5


def test_its_tokenizer_marks_gaps(tokenizer):
    ids = tokenizer("He <extra_id_0> his hat.")["input_ids"]
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert len(tokenizer) - 1 in ids
    assert ids[-1] == tokenizer.eos_token_id
