"""Adapters and models of heads that mark spans and write: PEFT and transformers load them, on their
own models of the right class, and give our logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backbones import tiny, writing
from tests.winner.trained import scorer
from tuneoff import registry
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, load
from tuneoff.backbones.families import family_of
from tuneoff.backbones.padded import Padded
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features
from tuneoff.winner.forms import ADAPTER, form_of, read_hooks, write_form
from tuneoff.winner.merge import merged_state, save_merged
from tuneoff.winner.scorer import Scorer
from tuneoff.winner.tensors import read_tensors, write_tensors

READ, SAID = [7, 3, 12, 2, 9], [4, 6, 1, 5, 2]
FORMS = {"question_answering": "span", "causal_lm": "token", "seq2seq_lm": "sequence"}
KINDS = [
    ("bert", "question_answering"),
    ("gpt2", "question_answering"),
    ("llama", "question_answering"),
    ("gpt2", "causal_lm"),
    ("llama", "causal_lm"),
    ("t5", "seq2seq_lm"),
    ("bert", "seq2seq_lm"),
]
ALL = pytest.mark.parametrize(("architecture", "head"), KINDS)


def method(name: str, **settings: Any) -> Any:
    return registry.get("methods", name)(**settings)


def backbone(architecture: str, head: Any, folder: Path, **options: Any) -> Backbone:
    saved = folder / architecture
    if architecture == "llama":
        tiny.save(architecture, saved, "causal_lm")
    else:
        writing.save(architecture, saved)
    made = load(BackboneOptions(str(saved), **options), head)
    made.model.double()
    return made


def features(head: str) -> Features:
    """Texts of many lengths; what is to be said of each is labelled."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 100, sum(READ)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(READ)])
    given: dict[str, Any] = {"targets": rng.integers(4, 100, sum(READ))}
    if head == "question_answering":
        given = {"targets": np.zeros((len(READ), 2), np.int64)}
    if head == "seq2seq_lm":
        ends = np.concatenate([[0], np.cumsum(SAID)])
        given = {"targets": rng.integers(4, 100, sum(SAID)), "target_offsets": ends}
    return Features(tokens, offsets, form=FORMS[head], **given)  # type: ignore[arg-type]


def engines(made: Backbone, hooks: Any, data: Features) -> np.ndarray:
    """Our logits, example by example: (rows, words or 2)."""
    attach(made, [hooks])
    family: Any = family_of(made) or Padded(made)
    parts = []
    with torch.no_grad():
        for row in range(len(data)):
            one = layouts.build(data, [np.array([row])], family.reads, torch.device("cpu"))
            parts.append(family.forward(one).double().numpy())
    attach(made, [])
    return np.concatenate(parts)


def theirs(model: Any, data: Features, start: int | None) -> np.ndarray:
    """A library's logits, example by example, by its own forward. start: what a decoder of an
    encoder-decoder begins with."""
    parts = []
    for row in range(len(data)):
        ids = torch.from_numpy(data.tokens[data.offsets[row] : data.offsets[row + 1]]).long()
        given = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        if data.form == "sequence":
            assert data.target_offsets is not None
            first, last = data.target_offsets[row : row + 2]
            said = [start, *data.targets[first:last].tolist()][:-1]
            given["decoder_input_ids"] = torch.tensor([said])
        with torch.no_grad():
            out = model(**given)
        if data.form == "span":
            logits = torch.stack([out.start_logits[0], out.end_logits[0]], -1)
        else:
            logits = out.logits[0]
        parts.append(logits.double().numpy())
    return np.concatenate(parts)


def plain(made: Backbone, folder: Any = None) -> Any:
    """transformers' own model for the head, from the backbone's folder or another one."""
    import transformers as t

    place = folder or made.options.model
    if made.pair and folder is None:
        model = t.EncoderDecoderModel.from_encoder_decoder_pretrained(place, place)
        model.encoder.pooler = None
        return model.double()
    auto = {
        "question_answering": t.AutoModelForQuestionAnswering,
        "causal_lm": t.AutoModelForCausalLM,
        "seq2seq_lm": t.AutoModelForSeq2SeqLM,
    }[made.head]
    renamed = {}
    if made.config.model_type == "llama" and made.head == "question_answering" and folder is None:
        renamed = {"key_mapping": {r"^model\.": "transformer."}}
    return auto.from_pretrained(place, dtype=torch.float64, **renamed)


def through_peft(made: Backbone, folder: Path, data: Features) -> np.ndarray:
    from peft import PeftModel

    model = PeftModel.from_pretrained(plain(made), folder, autocast_adapter_dtype=False)
    start = getattr(made.config, "decoder_start_token_id", None)
    return theirs(model.double().eval(), data, start)


@ALL
@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_peft_loads_the_adapter_and_gives_our_logits(architecture, head, name, tmp_path):
    made, data, chosen = backbone(architecture, head, tmp_path), features(head), method(name)
    ours = scorer(made, chosen)
    folder = tmp_path / "winner"
    assert form_of(made, chosen, ours.hooks) == "peft"
    write_form("peft", folder, ours, chosen)
    expected = engines(made, ours.hooks, data)
    np.testing.assert_allclose(through_peft(made, folder, data), expected, atol=1e-9, rtol=0)
    again = Scorer(made, read_hooks("peft", folder, made, chosen))
    np.testing.assert_allclose(engines(made, again.hooks, data), expected, atol=1e-12, rtol=0)
    state = read_tensors(folder / ADAPTER)  # negative control: another adapter, other logits
    key = next(name for name in state if "lora_B" in name or "ia3" in name)
    write_tensors(folder / ADAPTER, {**state, key: state[key] * 1.5 + 0.05})
    assert np.abs(through_peft(made, folder, data) - expected).max() > 1e-5


@ALL
@pytest.mark.parametrize("name", ["full", "last_layer", "lora"])
def test_transformers_loads_the_whole_model(architecture, head, name, tmp_path):
    """`last_layer` gives a language model an output layer of its own, tied to nothing any more."""
    made, data = backbone(architecture, head, tmp_path), features(head)
    ours = scorer(made, method(name))
    save_merged(made, ours.hooks, tmp_path / "merged")
    model = plain(made, tmp_path / "merged").eval()
    expected = engines(made, ours.hooks, data)
    start = getattr(model.config, "decoder_start_token_id", None)
    np.testing.assert_allclose(theirs(model, data, start), expected, atol=1e-9, rtol=0)
    bare = engines(made, {}, data)  # negative control: the hooks do something
    assert np.abs(bare - expected).max() > 1e-4
    if name == "last_layer" and head != "question_answering":
        output, words = model.get_output_embeddings(), model.get_input_embeddings()
        if made.pair:
            words = model.decoder.get_input_embeddings()
        assert not torch.equal(output.weight, words.weight)


@pytest.mark.parametrize("implementation", ["transformers", "own"])
def test_new_tokens_are_saved_with_the_model(implementation, tmp_path):
    """A plain backbone has no row for them, so that an adapter alone would be no model."""
    from transformers import AutoTokenizer

    options = {"new_tokens": ("<sum>",), "implementation": implementation}
    made = backbone("gpt2", "causal_lm", tmp_path, **options)
    chosen = method("lora")
    ours = scorer(made, chosen)
    assert chosen.peft_config(made) is not None
    assert form_of(made, chosen, ours.hooks) == "model"
    write_form("model", tmp_path / "winner", ours, chosen)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "winner")
    new = tokenizer.convert_tokens_to_ids("<sum>")
    assert new == 100
    data = features("causal_lm")
    data.tokens[[3, 9, 20]] = new
    expected = engines(made, ours.hooks, data)
    found = theirs(plain(made, tmp_path / "winner").eval(), data, None)
    assert found.shape[1] == 101
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)
    without = {k: hook for k, hook in ours.hooks.items() if not hasattr(hook, "rows")}
    assert len(without) < len(ours.hooks)
    assert np.abs(engines(made, without, data) - expected).max() > 1e-4


def test_cross_attention_that_was_not_trained_is_saved_with_the_model(tmp_path):
    made = backbone("bert", "seq2seq_lm", tmp_path, new_cross_attention="frozen")
    chosen = method("lora")
    assert form_of(made, chosen, scorer(made, chosen).hooks) == "model"
    trained = backbone("bert", "seq2seq_lm", tmp_path)
    assert form_of(trained, chosen, scorer(trained, chosen).hooks) == "peft"


def test_a_tied_weight_has_all_its_names(tmp_path):
    made = backbone("t5", "seq2seq_lm", tmp_path)
    state = merged_state(made, scorer(made, method("full")).hooks)
    names = {name for name, _ in made.model.named_parameters(remove_duplicate=False)}
    assert state.keys() == names
    assert torch.equal(state["shared.weight"], state["encoder.embed_tokens.weight"])
    assert torch.equal(state["shared.weight"], state["lm_head.weight"])
    own = merged_state(made, scorer(made, method("last_layer")).hooks)
    assert not torch.equal(own["shared.weight"], own["lm_head.weight"])
