"""What is saved, loaded by PEFT and transformers themselves, gives our logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.winner.trained import CLASSES, backbone, features, id_lists, scorer
from tuneoff import registry
from tuneoff.errors import BackboneError, TuneoffError
from tuneoff.winner.forms import ADAPTER, HOOKS, form_of, read_hooks, write_form
from tuneoff.winner.fresh import plain_probabilities
from tuneoff.winner.merge import merged_state, save_merged, unmergeable
from tuneoff.winner.scorer import Scorer
from tuneoff.winner.tensors import read_tensors, write_tensors

ARCHITECTURES = ("bert", "roberta", "distilbert", "gpt2", "gpt_neo", "llama", "t5")
PEFT = {"lora": {}, "dora": {}, "ia3": {}, "layernorm": {}}
PLAIN = ("full", "last_layer", "top_blocks", "bitfit")


def method(name, **settings):
    return registry.get("methods", name)(**settings)


def close_to(architecture):
    # transformers' GPT-Neo computes its scores in float32 whatever the model's dtype
    return 1e-6 if architecture == "gpt_neo" else 1e-10


def through_peft(made, folder, data):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(
        made.options.model, num_labels=len(CLASSES), dtype=torch.float64
    )
    base.config.pad_token_id = made.config.pad_token_id
    model = PeftModel.from_pretrained(base, folder, autocast_adapter_dtype=False).double().eval()
    return plain_probabilities(model, id_lists(data), None, 4, made.config.pad_token_id)


@pytest.mark.parametrize("name", PEFT)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_loads_the_adapter_and_gives_our_probabilities(architecture, name, tmp_path):
    made = backbone(architecture, tmp_path, double=True)
    data, chosen = features(architecture == "t5"), method(name)
    ours = scorer(made, chosen)
    folder = tmp_path / "winner"
    assert form_of(made, chosen, ours.hooks) == "peft"
    write_form("peft", folder, ours, chosen)
    expected = ours.probabilities(data)
    close = close_to(architecture)
    np.testing.assert_allclose(through_peft(made, folder, data), expected, atol=close, rtol=0)
    again = Scorer(made, read_hooks("peft", folder, made, chosen))
    np.testing.assert_allclose(again.probabilities(data), expected, atol=1e-12, rtol=0)
    state = read_tensors(folder / ADAPTER)  # negative control: another adapter, other answers
    key = next(name for name in state if not any(head in name for head in ("classif", "score")))
    state[key] = state[key] * 1.5 + 0.05
    write_tensors(folder / ADAPTER, state)
    assert np.abs(through_peft(made, folder, data) - expected).max() > 1e-5


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_transformers_loads_the_whole_model(architecture, name, tmp_path):
    made = backbone(architecture, tmp_path)
    data, chosen = features(architecture == "t5"), method(name)
    ours = scorer(made, chosen)
    folder = tmp_path / "winner"
    assert form_of(made, chosen, ours.hooks) == "model"
    write_form("model", folder, ours, chosen)
    expected = ours.probabilities(data)
    np.testing.assert_allclose(plainly(folder, made, data), expected, atol=2e-6, rtol=0)
    with torch.no_grad():  # negative control: other hooks, other answers
        next(next(iter(ours.hooks.values())).parameters()).mul_(1.5)
    changed = ours.probabilities(data)
    assert np.abs(changed - expected).max() > 1e-5


def plainly(folder, made, data):
    from transformers import AutoModelForSequenceClassification

    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert list(model.config.id2label.values()) == CLASSES
    return plain_probabilities(model.eval(), id_lists(data), None, 4, made.config.pad_token_id)


@pytest.mark.parametrize("name", PEFT)
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_the_merged_model_gives_the_unmerged_probabilities(architecture, name, tmp_path):
    made = backbone(architecture, tmp_path, double=True)
    data = features(architecture == "t5")
    ours = scorer(made, method(name))
    assert unmergeable(made, ours.hooks) is None
    save_merged(made, ours.hooks, tmp_path / "merged")
    expected = ours.probabilities(data)
    close = close_to(architecture)
    np.testing.assert_allclose(plainly(tmp_path / "merged", made, data), expected, atol=close)
    bare = Scorer(made, {site.name: ours.hooks[site.name] for site in made.head_sites})
    assert np.abs(bare.probabilities(data) - expected).max() > 1e-4  # the hooks do something


def test_the_bottleneck_adapter_keeps_our_own_form(tmp_path):
    made = backbone("bert", tmp_path)
    data, chosen = features(), method("adapter", bottleneck_size=8)
    ours = scorer(made, chosen)
    assert form_of(made, chosen, ours.hooks) == "hooks"
    assert unmergeable(made, ours.hooks)
    with pytest.raises(BackboneError, match="cannot be folded"):
        merged_state(made, ours.hooks)
    write_form("hooks", tmp_path / "winner", ours, chosen)
    again = Scorer(made, read_hooks("hooks", tmp_path / "winner", made, chosen))
    np.testing.assert_array_equal(again.probabilities(data), ours.probabilities(data))
    state = read_tensors(tmp_path / "winner" / HOOKS)
    state.pop(next(iter(state)))
    write_tensors(tmp_path / "winner" / HOOKS, state)
    with pytest.raises(BackboneError, match="is missing"):
        read_hooks("hooks", tmp_path / "winner", made, chosen)


@pytest.mark.parametrize(
    ("architecture", "quantization"), [("bert", "nf4"), ("bert", "int8"), ("gpt2", "nf4")]
)
def test_a_quantized_backbone_merges_into_its_dequantized_weights(
    architecture, quantization, tmp_path
):
    made = backbone(architecture, tmp_path, quantization)
    data = features()
    ours = scorer(made, method("lora"))
    save_merged(made, ours.hooks, tmp_path / "merged")
    expected = ours.probabilities(data)
    close = 1e-5 if quantization == "nf4" else 2e-2  # 8-bit products round their inputs too
    np.testing.assert_allclose(plainly(tmp_path / "merged", made, data), expected, atol=close)
    plain = backbone(architecture, tmp_path / "plain")  # negative control: rounding is not nothing
    assert np.abs(Scorer(plain, ours.hooks).probabilities(data) - expected).max() > 1e-4


def test_an_adapter_without_its_head_is_refused(tmp_path):
    made = backbone("roberta", tmp_path)
    chosen = method("lora")
    write_form("peft", tmp_path / "winner", scorer(made, chosen), chosen)
    path = tmp_path / "winner" / ADAPTER
    state = {k: v for k, v in read_tensors(path).items() if "out_proj" not in k}
    write_tensors(path, state)
    with pytest.raises(BackboneError, match="the head is not in it"):
        read_hooks("peft", tmp_path / "winner", made, chosen)


def test_an_adapter_of_other_settings_is_refused(tmp_path):
    made = backbone("bert", tmp_path)
    chosen = method("lora", rank=4)
    write_form("peft", tmp_path / "winner", scorer(made, chosen), chosen)
    with pytest.raises(TuneoffError, match="expected"):
        read_hooks("peft", tmp_path / "winner", made, method("lora", rank=8))


def test_logits_do_not_depend_on_the_batch_size(tmp_path):
    for architecture in ("bert", "t5"):
        made = backbone(architecture, tmp_path, double=True)
        ours = scorer(made, method("lora"))
        for hook in ours.hooks.values():
            hook.double()
        data = features(architecture == "t5")
        one, many = ours.logits(data, 1), ours.logits(data, 16)
        np.testing.assert_allclose(one, many, atol=1e-12, rtol=0)
        assert one.std() > 1e-3
