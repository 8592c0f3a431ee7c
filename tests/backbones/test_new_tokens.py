"""A token that a task adds: its embedding, how each method treats it, and PEFT's own way."""

from __future__ import annotations

import pytest
import torch

from tests.backbones import writing
from tuneoff.backbones.attach import attach, intercepted
from tuneoff.backbones.backbone import BackboneOptions, inspect, load
from tuneoff.backbones.new_tokens import NewOutputs, NewRows, hooks_of
from tuneoff.registry import get

EMBEDDING, OUTPUT = "transformer.wte", "lm_head"


@pytest.fixture
def backbone(tmp_path):
    folder = writing.save("gpt2", tmp_path)
    return load(BackboneOptions(str(folder), new_tokens=("<sum>", "the")), "causal_lm")


def hooks(backbone, method, **settings):
    made = get("methods", method)(**settings).build(backbone, torch.Generator().manual_seed(0))
    return hooks_of(backbone, made)


def test_a_known_token_stays_and_a_new_one_begins_as_the_mean(backbone):
    table = backbone.model.get_input_embeddings().weight
    assert backbone.new_rows == 1
    assert len(backbone.tokenizer) == len(table) == 101
    assert backbone.tokenizer.convert_tokens_to_ids("<sum>") == 100
    torch.testing.assert_close(table[100], table[:100].mean(0), rtol=0, atol=1e-6)
    assert backbone.model.get_output_embeddings().weight is table
    assert backbone.tokenizer("the<sum>king")["input_ids"][1] == 100
    shape = inspect(backbone.options, "causal_lm")
    assert shape.new_rows == 1
    assert shape.total_parameters == backbone.total_parameters


@pytest.mark.parametrize("method", ["lora", "ia3", "adapter", "bitfit", "layernorm"])
def test_methods_that_reach_the_embeddings_train_it(backbone, method):
    made = hooks(backbone, method)
    assert type(made[EMBEDDING]) is NewRows
    assert type(made[OUTPUT]) is NewOutputs
    assert made[EMBEDDING].rows is made[OUTPUT].rows


@pytest.mark.parametrize("method", ["full", "last_layer", "top_blocks"])
def test_others_train_all_embeddings_or_none(backbone, method):
    made = hooks(backbone, method)
    assert not any(isinstance(hook, NewRows) for hook in made.values())
    assert (EMBEDDING in made) == (method == "full")


def test_training_it_is_what_peft_does(backbone):
    """PEFT's trainable_token_indices, tied to the output layer, against our two hooks."""
    import peft

    model = backbone.model.double()
    made = {name: hook.double() for name, hook in hooks(backbone, "lora").items()}
    made = {name: made[name] for name in (EMBEDDING, OUTPUT)}
    rows = made[EMBEDDING].rows
    ids = torch.tensor([[5, 100, 7, 100, 9], [100, 1, 2, 3, 4]])
    with torch.no_grad():
        rows.add_(torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).double())
    attach(backbone, [made])
    with intercepted(backbone, [(0, 2)]):
        mine = model(ids, labels=ids)
    mine.loss.backward()
    attach(backbone, [])
    without = model(ids, labels=ids).logits
    config = peft.TrainableTokensConfig(token_indices=[100], target_modules=["wte"])
    theirs = peft.get_peft_model(model, config)
    (delta,) = {id(p): p for p in theirs.parameters() if p.requires_grad}.values()
    with torch.no_grad():
        delta.copy_(rows)
    out = theirs(ids, labels=ids)
    out.loss.backward()
    torch.testing.assert_close(mine.logits, out.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(rows.grad, delta.grad, rtol=0, atol=1e-12)
    assert (mine.logits - without).abs().max() > 1e-3
    assert (mine.logits[..., 100] - without[..., 100]).abs().max() > 1e-3


def test_folding_it_in_gives_the_same_model(backbone):
    made = hooks(backbone, "lora")
    with torch.no_grad():
        made[EMBEDDING].rows.add_(1.0)
    site = backbone.sites[EMBEDDING]
    merged = made[EMBEDDING].merged(site)["weight"]
    torch.testing.assert_close(merged[:100], site.module.weight[:100])
    torch.testing.assert_close(merged[100], made[EMBEDDING].rows[0])


def test_our_own_gpt2_grows_alike(backbone):
    from dataclasses import replace

    own = load(replace(backbone.options, implementation="own"), "causal_lm")
    assert own.new_rows == 1
    ids = torch.tensor([[5, 100, 7, 100, 9]])
    theirs = backbone.model(ids, attention_mask=torch.ones_like(ids)).logits
    mine = own.model(ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert mine.shape[-1] == 101
    assert own.model.get_output_embeddings().weight is own.model.get_input_embeddings().weight
