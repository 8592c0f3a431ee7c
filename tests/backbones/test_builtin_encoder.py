"""The shipped encoder opens with the ordinary classes, offline, and has learned English."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

import tuneoff

FOLDER = Path(tuneoff.__file__).parent / "backbones/builtin/tuneoff-mini-bert"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)


def test_it_stays_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 12e6


def test_it_opens_with_a_head_and_every_other_weight_is_in_the_file():
    model, found = AutoModelForSequenceClassification.from_pretrained(
        FOLDER, num_labels=5, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    assert set(found["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert model.config.hidden_dropout_prob == 0.1
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("he took off his hat and coat, and sat [MASK] by the fire.", "down"),
        ("he opened the [MASK] and went out.", "door"),
        ("she was the most beautiful woman in the [MASK].", "world"),
    ],
)
def test_masked_words_are_filled(tokenizer, text, word):
    model = AutoModelForMaskedLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    batch = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits_TV = model(**batch).logits[0]
    place = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    best = logits_TV[place].topk(5).indices.tolist()
    assert word in tokenizer.convert_ids_to_tokens(best)


def test_late_positions_are_trained(tokenizer):
    """The same sentence at the end of a long row is predicted nearly as well as at its start."""
    model = AutoModelForMaskedLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    text = "he took off his hat and coat, and sat [MASK] by the fire."
    batch = tokenizer(text, return_tensors="pt")
    length = batch["input_ids"].shape[1]
    late = torch.arange(length)[None] + model.config.max_position_embeddings - length
    late[0, 0] = 0
    down = tokenizer.convert_tokens_to_ids("down")
    place = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        logits_TV = model(**batch, position_ids=late).logits[0]
    assert down in logits_TV[place].topk(5).indices.tolist()


def test_pooled_vectors_put_like_texts_together(tokenizer):
    model = AutoModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
    texts = [
        "the ship was tossed by the waves, and the sailors lowered the boat.",
        "the captain stood on deck while the wind tore at the sails.",
        "she poured the tea, and her aunt passed the bread and butter.",
    ]
    with torch.no_grad():
        pooled = model(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
    ship, captain, tea = torch.nn.functional.normalize(pooled, dim=1)
    assert ship @ captain > ship @ tea
    assert ship @ captain > captain @ tea


def test_tokens_come_in_lower_case_with_two_segments(tokenizer):
    batch = tokenizer("The HOUSE", "a river")
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"]) == (
        ["[CLS]", "the", "house", "[SEP]", "a", "river", "[SEP]"]
    )
    assert batch["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer.model_max_length == 256
