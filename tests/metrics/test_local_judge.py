"""A local judge replies what the model, asked alone and greedily, replies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tuneoff.backbones.names import folder_of
from tuneoff.metrics import Predicted
from tuneoff.metrics._local_judge import replies
from tuneoff.metrics.judge import Judge


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge")
    tokenizer = AutoTokenizer.from_pretrained(folder_of("mini-bert"))
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96,
        bos_token_id=None, eos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(path)
    return path


def alone(folder, prompt, tokens):
    """The greedy loop, one prompt, no padding and no cache."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt)["input_ids"][-(96 - tokens) :]
    for _ in range(tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tokenizer.decode(ids[-tokens:], skip_special_tokens=True)


def test_replies_are_those_of_a_greedy_loop_in_whatever_batches(folder):
    prompts = ["a", "score the answer of the house", "how good is this, from 0 to 100?"]
    expected = {prompt: alone(folder, prompt, 5) for prompt in prompts}
    assert len(set(expected.values())) == 3  # the prompts matter
    for size in (1, 2, 16):
        assert dict(replies(str(folder), prompts, 5, size)) == expected


def test_nonsense_is_counted_and_no_study_lost(folder, tmp_path):
    rows = Predicted(losses=np.ones(2), texts=["a", "b"], references=[["c"], ["d"]])
    judge = Judge(model=str(folder), cache=str(tmp_path))
    assert judge.problems() == []
    assert np.isnan(judge.score(rows))
    details = judge.details(rows)
    assert (details["samples"], details["bad_replies"]) == (1, 2)
    assert details["endpoint"] == "local"
    assert len(list(tmp_path.rglob("*.json"))) == 2
