"""Language modelling: blocks hold the text, and the loss is Hugging Face's for the same blocks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.data.tokenizers import ALL, real_rows, tokenizer
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.tasks.language_modelling import LanguageModelling

TEXTS = ["the film was good.", "bad", "it was not very good, and the film " * 5, "a"]
FACTS = {"columns": ["text"]}


def features(task, name, texts=TEXTS):
    return task.features(ArrowRows.of([{"text": text} for text in texts]), FACTS, tokenizer(name))


def blocks(made):
    return [
        made.tokens[a:b].tolist() for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True)
    ]


@pytest.mark.parametrize("name", ALL)
def test_blocks_are_the_texts_with_nothing_lost(name):
    made_by = tokenizer(name)
    end = made_by.eos_token_id
    documents = [made_by(text)["input_ids"] for text in TEXTS]
    if end is not None:
        documents = [ids if ids[-1] == end else [*ids, end] for ids in documents]
    cut = [ids[at : at + 6] for ids in documents for at in range(0, len(ids), 6)]
    made = features(LanguageModelling(max_length=6), name)
    assert blocks(made) == [block for block in cut if len(block) > 1]
    assert made.left_out == (
        {"block of one token": n} if (n := sum(len(b) == 1 for b in cut)) else {}
    )

    packed = features(LanguageModelling(max_length=6, packed=True), name)
    flat = [token for ids in documents for token in ids]
    assert blocks(packed) == [b for at in range(0, len(flat), 6) if len(b := flat[at : at + 6]) > 1]


@pytest.mark.parametrize("packed", [False, True])
def test_targets_are_the_next_tokens(packed):
    made = features(LanguageModelling(max_length=6, packed=packed), "decoder")
    assert made.per_token
    for a, b in zip(made.offsets[:-1], made.offsets[1:], strict=True):
        assert made.targets[a : b - 1].tolist() == made.tokens[a + 1 : b].tolist()
        assert made.targets[b - 1] == -100


def test_end_of_text_can_be_left_out():
    end = tokenizer("decoder").eos_token_id
    with_end = features(LanguageModelling(packed=True), "decoder")
    without = features(LanguageModelling(packed=True, end_of_text=False), "decoder")
    assert with_end.tokens.tolist().count(end) == len(TEXTS)
    assert [token for token in with_end.tokens.tolist() if token != end] == without.tokens.tolist()


@pytest.mark.parametrize("packed", [False, True])
@torch.no_grad()
def test_the_loss_is_that_of_hugging_face(packed):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    ends = {"vocab_size": len(tokenizer("decoder")), "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(**shape, **ends)).double().eval()
    task = LanguageModelling(max_length=9, packed=packed)
    made = features(task, "decoder")
    for block, a, b in zip(blocks(made), made.offsets[:-1], made.offsets[1:], strict=True):
        ids = torch.tensor([block])
        out = model(input_ids=ids, labels=ids)
        targets = torch.from_numpy(made.targets[a:b].copy())
        losses = task.losses(out.logits[0], SimpleNamespace(targets=targets))
        assert losses[targets == -100].tolist() == [0.0]
        ours = float(losses.sum() / (targets != -100).sum())
        naive = -out.logits[0, :-1].log_softmax(-1)[range(len(block) - 1), block[1:]].mean()
        assert abs(ours - float(naive)) < 1e-12
        assert abs(ours - float(out.loss)) < 1e-6  # Hugging Face's loss is in float32
        unshifted = task.losses(out.logits[0], SimpleNamespace(targets=ids[0])).mean()
        assert abs(float(unshifted) - float(out.loss)) > 1e-4


def test_packed_blocks_do_not_depend_on_the_size_of_batches():
    rows = [{"text": row["text"]} for row in real_rows("sst5", "test", 300)]
    task = LanguageModelling(max_length=32, packed=True)
    whole = task.features(ArrowRows.of(rows), FACTS, tokenizer("decoder"))
    pieces = []
    rest: list[int] = []
    for row in rows:
        rest += [*tokenizer("decoder")(row["text"])["input_ids"], tokenizer("decoder").eos_token_id]
    for at in range(0, len(rest), 32):
        pieces.append(rest[at : at + 32])
    assert blocks(whole) == [piece for piece in pieces if len(piece) > 1]
    assert (np.diff(whole.offsets)[:-1] == 32).all()
