import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from tests.data.tokenizers import ALL, tokenizer
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError
from tuneoff.tasks.text_classification import TextClassification

TASK = TextClassification()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 1e-6), (torch.float16, 1e-6)],
)
def test_losses_are_cross_entropy_in_float32_at_least(dtype, tolerance):
    logits = (
        torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30
    ).to(dtype)
    targets = torch.arange(50) % 7
    losses = TASK.losses(logits, SimpleNamespace(targets=targets))
    expected = -log_softmax(logits.double().numpy(), axis=1)[np.arange(50), targets.numpy()]
    np.testing.assert_allclose(losses.double().numpy(), expected, rtol=tolerance, atol=tolerance)
    assert losses.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    if dtype in (torch.bfloat16, torch.float16):  # what the upcast avoids
        narrow = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        assert np.abs(narrow.double().numpy() - expected).max() > 1e-3


def test_predictions_are_the_greatest_logits():
    logits = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, 1.0]])
    assert TASK.predictions(logits).tolist() == [1, 0]


def test_a_second_text_is_read_where_there_is_one():
    rows = ArrowRows.of([{"text": "a", "text_pair": "b", "label": i} for i in range(2)])
    facts = TASK.describe(rows)
    assert facts["columns"] == ["text", "text_pair"]
    features = TASK.features(rows, facts, tokenizer("encoder"))
    assert features.token_type.tolist() == tokenizer("encoder")("a", "b")["token_type_ids"] * 2
    single = TASK.features(rows, {**facts, "columns": ["text"]}, tokenizer("encoder"))
    assert single.token_type is None


@pytest.mark.parametrize("name", ALL)
def test_a_pair_is_parted_where_the_tokenizer_does_not(name):
    known, data = tokenizer(name), [{"text": "good", "text_pair": "bad film"}]
    rows = ArrowRows.of(data)
    facts = {"columns": ["text", "text_pair"], "classes": ["no", "yes"]}
    task = TextClassification(between=" and ")
    found = task.features(rows, facts, known, labelled=False).tokens.tolist()
    marked = name not in ("decoder", "gpt2")
    assert found == known("good", ("" if marked else " and ") + "bad film")["input_ids"]
    other = task.model_copy(update={"between": " , "})
    changed = other.features(rows, facts, known, labelled=False).tokens.tolist()
    assert (changed == found) == marked


def test_an_encoder_decoder_is_asked_at_one_end():
    known = copy.deepcopy(tokenizer("encoder"))
    known.eos_token = "[SEP]"
    facts = {"columns": ["text"], "classes": ["no", "yes"], "kind": "encoder_decoder"}
    task = TextClassification()
    fine = ArrowRows.of([{"text": "a good film"}])
    assert len(task.features(fine, facts, known, labelled=False)) == 1
    odd = ArrowRows.of([{"text": "a good film"}, {"text": "a [SEP] film"}])
    with pytest.raises(DataError, match=r"'a \[SEP\] film' has the token that ends.*1 times too"):
        task.features(odd, facts, known, labelled=False)
    pooled = TextClassification(head_on="encoder")  # the mean is taken wherever the ends are
    assert len(pooled.features(odd, facts, known, labelled=False)) == 2
    with pytest.raises(DataError, match="puts no token at the end of a text"):
        task.features(fine, facts, tokenizer("decoder"), labelled=False)


def test_a_text_without_tokens_is_refused():
    rows = ArrowRows.of([{"text": "\u200b", "label": i} for i in range(2)])
    with pytest.raises(DataError, match="no token"):
        TASK.features(rows, TASK.describe(rows), tokenizer("decoder"))


def test_an_unknown_label_is_refused():
    rows = ArrowRows.of([{"text": "a", "label": "odd"}])
    with pytest.raises(DataError, match=r"'odd' is none of the classes of train: no, yes"):
        TASK.features(rows, {"columns": ["text"], "classes": ["no", "yes"]}, tokenizer("encoder"))


def test_metrics_are_known():
    from tuneoff import registry

    assert set(TASK.metrics) <= set(registry.names("metrics"))
