"""BERTScore equals the bert-score package on the same encoder and layer, in whatever batches."""

import warnings

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, RobertaConfig, RobertaModel

from tests.metrics.texts import DATA, answers, made, of_parts, predicted, summaries
from tuneoff import registry
from tuneoff.backbones.names import folder_of
from tuneoff.metrics import evaluate

NAMES = ["bertscore_precision", "bertscore_recall", "bertscore_f1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built-in encoder in float32, since bert-score takes the type that is saved."""
    path = tmp_path_factory.mktemp("encoder")
    AutoModel.from_pretrained(folder_of("mini-bert"), dtype=torch.float32).save_pretrained(path)
    AutoTokenizer.from_pretrained(folder_of("mini-bert")).save_pretrained(path)
    return path


def library(folder, layer, rows):
    """(3,) of the package; it cannot encode an empty text with the tokenizers of transformers 5."""
    from bert_score import score

    assert all(text.strip() for text in rows.texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = score(
            list(rows.texts), [list(many) for many in rows.references], model_type=str(folder),
            num_layers=layer, batch_size=8, device="cpu", nthreads=0,
        )  # fmt: skip
    return [float(one.double().mean()) for one in found]


def not_empty(rows):
    return rows.take([i for i, text in enumerate(rows.texts) if text.strip()])


def metrics(folder, layer):
    return {name: registry.get("metrics", name)(encoder=str(folder), layer=layer) for name in NAMES}


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_equals_the_package(folder, layer):
    for rows in (not_empty(made()), summaries(20), answers(40)):
        if rows is None:
            continue
        ours = evaluate(metrics(folder, layer), rows)
        assert [ours[name] for name in NAMES] == pytest.approx(
            library(folder, layer, rows), abs=2e-6
        )


def test_another_layer_gives_another_score(folder):
    rows = not_empty(made())
    other = library(folder, 1, rows)
    assert evaluate(metrics(folder, 3), rows)["bertscore_f1"] != pytest.approx(other[2], abs=1e-3)


def test_the_same_in_batches_of_any_size():
    part, rows = registry.get("metrics", "bertscore_f1"), made()
    whole = part().score(rows)
    for size in (1, 16):
        assert of_parts(part(), rows, size) == pytest.approx(whole, abs=1e-6)
        assert part(batch_size=size).score(rows) == pytest.approx(whole, abs=1e-6)


def test_the_same_text_is_one_and_another_is_less():
    same = predicted(["a red house stands here"], [["a red house stands here"]])
    other = predicted(["prices fell again"], [["a red house stands here"]])
    for name in NAMES:
        assert evaluate([name], same)[name] == pytest.approx(1, abs=1e-6)
        assert evaluate([name], other)[name] < 0.95


def test_an_empty_text_and_a_row_without_references_score_nothing():
    rows = predicted(["", "a", "a"], [["a"], [""], []])
    assert registry.get("metrics", "bertscore_f1")().values(rows).tolist() == [0, 0, 0]


def test_the_record_says_what_measured_and_what_was_cut():
    rows = predicted(["word " * 400, "short"], [["word"], ["short"]])
    details = registry.get("metrics", "bertscore_f1")().details(rows)
    assert (details["encoder"], details["layer"], details["layers"]) == ("mini-bert", 2, 3)
    assert details["truncated_texts"] == 1


def test_roberta_equals_the_package_too(tmp_path):
    if not (DATA / "tokenizers" / "roberta-base").is_dir():
        pytest.skip("no tokenizer of RoBERTa beside the project")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "roberta-base")
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    rows = not_empty(made())
    ours = evaluate(metrics(tmp_path, 2), rows)
    assert [ours[name] for name in NAMES] == pytest.approx(library(tmp_path, 2, rows), abs=2e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"layer": 9}, "at most 3"), ({"encoder": "./nowhere"}, "no such folder")],
)
def test_what_cannot_be_measured_is_known_beforehand(settings, message):
    (problem,) = registry.get("metrics", "bertscore_f1")(**settings).problems()
    assert message in problem
    assert registry.get("metrics", "bertscore_f1")().problems() == []


def test_what_names_a_run_is_the_encoders_content_and_not_its_place(folder, tmp_path):
    part = registry.get("metrics", "bertscore_f1")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    there, here = (part(encoder=str(place)).identity() for place in (folder, copy))
    assert there == here
    (copy / "model.safetensors").write_bytes(b"other")
    assert part(encoder=str(copy)).identity() != there
