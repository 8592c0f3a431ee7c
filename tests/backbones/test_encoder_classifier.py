"""A linear head on T5's pooled encoder is what a naive computation with transformers gives."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import T5EncoderModel, T5ForConditionalGeneration

from tests.backbones import tiny
from tests.winner.trained import CLASSES, features, id_lists, scorer
from tuneoff import registry
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import BackboneOptions, inspect, load
from tuneoff.backbones.encoder_classifier import AutoEncoderClassifier
from tuneoff.backbones.padded import Padded
from tuneoff.backbones.sites import Own
from tuneoff.errors import BackboneError
from tuneoff.tasks.text_classification import TextClassification
from tuneoff.training import layout as layouts
from tuneoff.winner.forms import form_of, read_hooks, write_form
from tuneoff.winner.fresh import plain_probabilities
from tuneoff.winner.merge import save_merged
from tuneoff.winner.scorer import Scorer

HEAD = "encoder_classification"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole T5, with decoder and language model head, as checkpoints are published."""
    place = tiny.save("t5", tmp_path_factory.mktemp("t5") / "t5")
    config = copy.deepcopy(tiny.configs()["t5"])
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(place)
    return place


def loaded(folder, quantization="none"):
    return load(BackboneOptions(str(folder), quantization=quantization), HEAD, CLASSES)


def naive(folder, backbone, data, rows):
    """(N, C) logits one by one, without padding, by transformers' T5EncoderModel."""
    encoder = T5EncoderModel.from_pretrained(folder).double().eval()
    head = copy.deepcopy(backbone.model.classifier).double().requires_grad_(True)
    found = []
    for row in rows:
        ids = torch.tensor(data.tokens[data.offsets[row] : data.offsets[row + 1]])[None].long()
        found.append(head(encoder(input_ids=ids).last_hidden_state[0].mean(0)))
    return torch.stack(found), encoder, head


def test_logits_and_gradients_are_those_of_a_naive_loop(folder):
    data, backbone = features(), loaded(folder)
    backbone.model.double()
    order = np.arange(len(data))
    batch = layouts.build(data, [order], "first", torch.device("cpu"))
    shared: dict = {}
    hooks = {name: Own(site, shared) for name, site in backbone.sites.items()}
    attach(backbone, [hooks])
    logits = Padded(backbone).forward(batch)
    torch.nn.functional.cross_entropy(logits, batch.targets).backward()
    expected, encoder, head = naive(folder, backbone, data, batch.order)
    torch.nn.functional.cross_entropy(expected, batch.targets).backward()
    assert torch.allclose(logits, expected, atol=1e-12, rtol=0)
    plain = {f"transformer.{name}": p.grad for name, p in encoder.named_parameters()}
    plain |= {f"classifier.{name}": p.grad for name, p in head.named_parameters()}
    compared = 0
    for name, hook in hooks.items():
        for part, parameter in hook.named_parameters():
            if (other := plain.get(f"{name}.{part}")) is not None:
                assert torch.allclose(parameter.grad, other, atol=1e-12, rtol=0), name
                compared += int(other.abs().max() > 1e-9)
    assert compared >= 18
    first = torch.stack([  # negative control: the first token is not the mean
        head(encoder(input_ids=torch.tensor([ids])).last_hidden_state[0, 0])
        for ids in np.array(id_lists(data), object)[batch.order]
    ])  # fmt: skip
    assert not torch.allclose(first, expected, atol=1e-6)


def test_the_decoder_is_not_there(folder):
    backbone = loaded(folder)
    whole = load(BackboneOptions(str(folder)), "sequence_classification", CLASSES)
    assert backbone.kind == "encoder_decoder"  # whose learning rates it takes
    assert not [name for name in backbone.sites if "decoder" in name]
    assert backbone.total_parameters < 0.6 * whole.total_parameters
    assert [site.name for site in backbone.head_sites] == ["classifier"]
    assert backbone.blocks == 2
    shape = inspect(BackboneOptions(str(folder)), HEAD, len(CLASSES))
    assert list(shape.sites) == list(backbone.sites)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("lora", "peft"),
        ("ia3", "peft"),
        ("layernorm", "peft"),
        ("full", "model"),
        ("last_layer", "model"),
        ("top_blocks", "model"),
        ("adapter", "hooks"),
    ],
)
def test_every_method_is_saved_and_gives_its_logits_again(name, form, folder, tmp_path):
    method = registry.get("methods", name)()
    made = loaded(folder)
    assert not method.problems(made)
    data, ours = features(), scorer(made, method)
    expected = ours.probabilities(data)
    assert form_of(made, method, ours.hooks) == form
    write_form(form, tmp_path / "saved", ours, method)
    fresh = load(
        BackboneOptions(str(tmp_path / "saved" if form == "model" else folder)), HEAD, CLASSES
    )
    again = Scorer(fresh, read_hooks(form, tmp_path / "saved", fresh, method))
    np.testing.assert_allclose(again.probabilities(data), expected, atol=1e-6)
    bare = Scorer(fresh, {})
    if form != "model":
        assert np.abs(bare.probabilities(data) - expected).max() > 1e-4
    if form == "peft":
        from peft import PeftModel

        base = AutoEncoderClassifier.from_pretrained(folder, num_labels=len(CLASSES))
        model = PeftModel.from_pretrained(base, tmp_path / "saved").eval()
        through = plain_probabilities(model, id_lists(data), None, 4, 0)
        np.testing.assert_allclose(through, expected, atol=1e-6)
        save_merged(made, ours.hooks, tmp_path / "merged")
        merged = AutoEncoderClassifier.from_pretrained(tmp_path / "merged").eval()
        through = plain_probabilities(merged, id_lists(data), None, 4, 0)
        np.testing.assert_allclose(through, expected, atol=1e-6)
        assert list(merged.config.id2label.values()) == CLASSES


def test_a_quantized_encoder_keeps_its_head_in_float32(folder):
    backbone = loaded(folder, "nf4")
    quantized = [site.name for site in backbone.sites.values() if site.quantized]
    assert len(quantized) == 2 * 5  # transformers keeps T5's `wo` in float32
    assert backbone.model.classifier.weight.dtype == torch.float32
    data, exact = features(), loaded(folder)
    exact.model.classifier.load_state_dict(backbone.model.classifier.state_dict())
    rounded = Scorer(backbone, {}).probabilities(data)
    plain = Scorer(exact, {}).probabilities(data)
    assert 1e-5 < np.abs(rounded - plain).max() < 0.2


def test_other_architectures_are_refused(tmp_path):
    from transformers import BartConfig

    BartConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, vocab_size=50,
    ).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(BackboneError, match=r"bart cannot be had alone.*t5, mt5, umt5"):
        inspect(BackboneOptions(str(tmp_path)), HEAD)


def test_the_setting_is_for_encoder_decoders():
    task = TextClassification(head_on="encoder")
    assert task.head_for("encoder_decoder") == HEAD
    assert not task.problems("encoder_decoder")
    for kind in ("encoder", "decoder"):
        (problem,) = task.problems(kind)
        assert problem.path == "head_on"
        assert f"this backbone is a{'n' * (kind == 'encoder')} {kind}" in problem.message
    assert TextClassification().head_for("encoder_decoder") == "sequence_classification"
