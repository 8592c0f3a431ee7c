"""The shipped decoder and encoder-decoder open as any model does, and have learned English."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import tuneoff
from tuneoff.backbones.names import builtin_names

BUILTIN = Path(tuneoff.__file__).parent / "backbones/builtin"
CLASSES = {"mini-gpt2": AutoModelForCausalLM, "mini-t5": AutoModelForSeq2SeqLM}
PAGE = (
    "The old man looked at the fire for a long time without a word. At last he rose from his "
    "chair, took his hat, and went to the door. “I shall come back to-morrow,” he said to his "
    "daughter; “do not wait for me to-night, for I must speak to your uncle before he goes to "
    "London.” She kissed him, and stood at the window until he was out of sight."
)


def opened(name):
    folder = BUILTIN / f"tuneoff-{name}"
    model = CLASSES[name].from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("name", CLASSES)
def test_it_is_small_whole_and_says_how_it_was_made(name):
    folder = BUILTIN / f"tuneoff-{name}"
    assert name in builtin_names()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12e6
    _, found = CLASSES[name].from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    model, tokenizer = opened(name)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert len(tokenizer) == model.config.vocab_size
    record = json.loads((folder / "training.json").read_text())
    assert record["corpus"]["sha256"]
    assert len(record["curve"]) > 10


def test_the_tokenizers_lose_nothing():
    for name in CLASSES:
        tokenizer = opened(name)[1]
        text = 'She said: "It is 5 o\'clock, and 3/4 of the way!"'
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@torch.no_grad()
def test_the_decoder_reads_a_page_far_better_than_its_words_frequencies():
    model, tokenizer = opened("mini-gpt2")
    ids = tokenizer(PAGE, return_tensors="pt")["input_ids"]
    loss = model(ids, labels=ids).loss.item()
    found = json.loads((BUILTIN / "tuneoff-mini-gpt2/training.json").read_text())["held_out"]
    assert loss < found["unigram_loss"] - 1
    generator = torch.Generator().manual_seed(0)  # negative control: the same words, shuffled
    mixed = ids[:, torch.randperm(ids.shape[1], generator=generator)]
    assert model(mixed, labels=mixed).loss.item() > loss + 1
    assert loss < math.log(len(tokenizer)) - 3


@torch.no_grad()
def test_the_encoder_decoder_fills_gaps_from_what_it_reads():
    model, tokenizer = opened("mini-t5")
    words = PAGE.split()
    gap = [12, 13, 27, 28, 40, 41]
    read, said, number = [], [], 0
    for place, word in enumerate(words):
        if place in gap:
            if place - 1 not in gap:
                read.append(f"<extra_id_{number}>")
                said.append(f"<extra_id_{number}>")
                number += 1
            said.append(word)
        else:
            read.append(word)
    labels = tokenizer(" ".join(said), return_tensors="pt")["input_ids"]
    own = tokenizer(" ".join(read), return_tensors="pt")["input_ids"]
    other = tokenizer("<extra_id_0> <extra_id_1> <extra_id_2>", return_tensors="pt")["input_ids"]
    loss = model(input_ids=own, labels=labels).loss.item()
    assert loss < model(input_ids=other, labels=labels).loss.item() - 0.2
    assert loss < math.log(len(tokenizer)) - 3
