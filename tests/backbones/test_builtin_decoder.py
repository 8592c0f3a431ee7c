"""The shipped decoder opens as any model does, and has learned English."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tuneoff
from tuneoff.backbones.names import builtin_names

FOLDER = Path(tuneoff.__file__).parent / "backbones/builtin/tuneoff-mini-gpt2"
PAGE = (
    "The old man looked at the fire for a long time without a word. At last he rose from his "
    "chair, took his hat, and went to the door. “I shall come back to-morrow,” he said to his "
    "daughter; “do not wait for me to-night, for I must speak to your uncle before he goes to "
    "London.” She kissed him, and stood at the window until he was out of sight."
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def test_it_is_small_whole_and_says_how_it_was_made(model, tokenizer):
    assert "mini-gpt2" in builtin_names()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 12e6
    _, found = AutoModelForCausalLM.from_pretrained(FOLDER, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.resid_pdrop == 0.1
    record = json.loads((FOLDER / "training.json").read_text())
    assert record["corpus"]["sha256"]
    assert len(record["curve"]) > 10


def test_its_tokenizer_loses_nothing(tokenizer):
    text = 'She said: "It is 5 o\'clock — and 3/4 of the way!" 日😀'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@torch.no_grad()
def test_it_reads_a_page_far_better_than_its_words_frequencies(model, tokenizer):
    ids = tokenizer(PAGE, return_tensors="pt")["input_ids"]
    loss = model(ids, labels=ids).loss.item()
    found = json.loads((FOLDER / "training.json").read_text())["held_out"]
    assert loss < found["unigram_loss"] - 1
    assert loss < math.log(len(tokenizer)) - 3
    generator = torch.Generator().manual_seed(0)  # negative control: the same words, shuffled
    mixed = ids[:, torch.randperm(ids.shape[1], generator=generator)]
    assert model(mixed, labels=mixed).loss.item() > loss + 1


@torch.no_grad()
@pytest.mark.parametrize(
    ("text", "word"),
    [("He shook his", " head"), ("I do not", " know"), ("She opened the", " door")],
)
def test_it_goes_on_as_english_does(model, tokenizer, text, word):
    logits_V = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    assert word in [tokenizer.decode(token) for token in logits_V.topk(5).indices]
