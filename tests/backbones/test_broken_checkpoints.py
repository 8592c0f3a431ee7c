"""A checkpoint that is cut short, incomplete or of another model is refused by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backbones import tiny
from tests.running.tiny_study import tiny_study
from tuneoff.backbones.backbone import BackboneOptions, load
from tuneoff.backbones.checkpoint import check_files
from tuneoff.errors import BackboneError
from tuneoff.planning.survey import survey
from tuneoff.runs import expand
from tuneoff.study import load_study


@pytest.fixture
def bert(tmp_path):
    return tiny.save("bert", tmp_path / "bert")


def opened(folder, head="sequence_classification"):
    return load(BackboneOptions(str(folder)), head, ["a", "b", "c"])


def without(folder, *parts):
    """The same folder without the tensors whose names hold one of the parts."""
    file = folder / "model.safetensors"
    state = load_file(file)
    kept = {name: value for name, value in state.items() if not any(p in name for p in parts)}
    assert len(kept) < len(state)
    save_file(kept, file, metadata={"format": "pt"})


def test_weights_that_are_cut_short_are_named(bert):
    file = bert / "model.safetensors"
    whole = file.read_bytes()
    opened(bert)
    for bad, message in (
        (whole[:-100], rf"is damaged: it has {len(whole) - 100:,} bytes.*says {len(whole):,}"),
        (whole[:60], "model.safetensors is damaged: 60 bytes that do not begin"),
        (b"", "model.safetensors is damaged: 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ):  # fmt: skip
        file.write_bytes(bad)
        with pytest.raises(BackboneError, match=message):
            opened(bert)
    file.write_bytes(whole)
    opened(bert)


def test_missing_shards_and_tensors_are_named(bert):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(bert)
    (bert / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"holds no weights.*it holds config.json, tokenizer"):
        opened(bert)
    model.save_pretrained(bert, max_shard_size="200KB")
    shards = sorted(bert.glob("model-*.safetensors"))
    assert len(shards) > 2
    opened(bert)
    kept = shards[1].read_bytes()
    shards[1].unlink()
    with pytest.raises(BackboneError, match=rf"1 of {len(shards)} weight files.*{shards[1].name}"):
        opened(bert)
    shards[1].write_bytes(kept[:-1])
    with pytest.raises(BackboneError, match=rf"{shards[1].name} is damaged"):
        opened(bert)
    shutil.copy(shards[0], shards[1])
    with pytest.raises(BackboneError, match=r"names tensors that no weight file holds"):
        opened(bert)
    (bert / "model.safetensors.index.json").write_text("{")
    with pytest.raises(BackboneError, match=r"index.json is damaged"):
        opened(bert)


def test_half_a_body_is_refused_instead_of_drawn(bert):
    without(bert, "layer.1.", "layer.2.")
    with pytest.raises(BackboneError, match=r"lacks 32 of the \d+ tensors of a bert.*layer.1"):
        opened(bert)


def test_one_tensor_of_a_body_is_enough(bert):
    without(bert, "embeddings.LayerNorm.bias")
    with pytest.raises(BackboneError, match=r"lacks 1 of the .*embeddings.LayerNorm.bias"):
        opened(bert)


def test_a_configuration_of_another_architecture_is_refused(bert, tmp_path):
    other = tiny.save("gpt2", tmp_path / "gpt2")
    shutil.copy(other / "config.json", bert / "config.json")
    with pytest.raises(BackboneError, match=r"of a gpt2 as config.json.*it has others: bert.emb"):
        opened(bert)


def test_blocks_beyond_the_configuration_are_not_left_out(bert):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(BackboneError, match=r"blocks beyond the 2 of config.json.*layer.2"):
        opened(bert)


def test_what_is_new_may_be_missing(bert, tmp_path):
    without(bert, "pooler", "classifier")
    assert {site.name for site in opened(bert).head_sites} == {"classifier", "bert.pooler.dense"}
    speaking = tiny.save("llama", tmp_path / "llama", "causal_lm")
    opened(speaking)  # the head of another task is too many, and no fault
    without(speaking, "lm_head")
    assert [site.name for site in opened(speaking).head_sites] == ["score"]
    with pytest.raises(BackboneError, match=r"lacks 1 of the .*lm_head.weight"):
        opened(speaking, "causal_lm")


def larger_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(120)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w3", pad_token="w0")
    made.save_pretrained(folder)


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(bert):
    larger_tokenizer(bert)
    with pytest.raises(BackboneError, match=r"ids up to 119 \('w119'\).*embeddings for 0 to 99"):
        opened(bert)


@pytest.mark.parametrize("broken", ["tokenizer", "weights"])
def test_a_study_says_so_before_it_trains(broken, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))
    study = load_study(tiny_study(tmp_path))
    specs = expand(study)
    survey(specs)
    if broken == "tokenizer":
        larger_tokenizer(tmp_path / "bert")
    else:
        file = tmp_path / "bert" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(BackboneError, match=r"different models|is damaged"):
        survey(specs)


def test_neither_padding_nor_end_is_needed_to_classify(tmp_path):
    from tests.winner.trained import features, id_lists
    from tuneoff.winner.scorer import Scorer, softmax

    made = opened(tiny.save("gpt2", tmp_path / "gpt2"))
    assert made.tokenizer.pad_token_id is made.tokenizer.eos_token_id is None
    made.model.double()
    data = features()
    one_by_one = torch.cat([
        made.model(input_ids=torch.tensor([ids])).logits for ids in id_lists(data)
    ])  # fmt: skip
    found = Scorer(made, {}).probabilities(data)
    assert abs(found - softmax(one_by_one.numpy())).max() < 1e-12


def test_hub_names_are_left_to_the_hub():
    check_files("somebody/some-model")
