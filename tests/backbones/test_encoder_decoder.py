"""Encoder-decoders in training: transformers' own loss, logits and gradients in float64, on T5 and
on BERT twice; and what every method does on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.backbones import writing
from tuneoff.backbones.attach import attach
from tuneoff.backbones.backbone import Backbone, BackboneOptions, inspect, load
from tuneoff.backbones.new_tokens import hooks_of
from tuneoff.backbones.padded import Padded
from tuneoff.backbones.sites import Own
from tuneoff.errors import BackboneError
from tuneoff.registry import get
from tuneoff.training import layout as layouts
from tuneoff.training.features import Features

READ, SAID = [7, 3, 12, 1, 9], [4, 6, 1, 5, 2]
BOTH = pytest.mark.parametrize("architecture", ["t5", "bert"])


def features() -> Features:
    """Texts and answers of many lengths; some tokens of the answers are not judged."""
    rng = np.random.default_rng(0)
    targets = rng.integers(4, 100, sum(SAID))
    targets[[1, 6]] = -100
    return Features(
        tokens=rng.integers(4, 100, sum(READ)).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(READ)]),
        targets=targets,
        form="sequence",
        target_offsets=np.concatenate([[0], np.cumsum(SAID)]),
    )


def loaded(architecture: str, tmp_path, **options) -> Backbone:
    folder = writing.save(architecture, tmp_path / architecture)
    backbone = load(BackboneOptions(str(folder), **options), "seq2seq_lm")
    backbone.model.double()
    return backbone


def reference(backbone: Backbone, data: Features, order: np.ndarray):
    """What transformers computes for `model(input_ids, attention_mask, labels=...)` in a padded
    batch: its own shift of the labels, its own loss."""
    ids = padded(data.tokens, data.offsets, order, 0)
    mask = padded(np.ones_like(data.tokens), data.offsets, order, 0)
    labels = padded(data.targets, data.target_offsets, order, -100)
    said = padded(np.ones_like(data.targets), data.target_offsets, order, 0)
    model = backbone.model
    model.requires_grad_(True)
    made = model(input_ids=ids, attention_mask=mask, decoder_attention_mask=said, labels=labels)
    made.loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.requires_grad_(False)
    model.zero_grad()
    return made.logits.detach()[labels != -100], made.loss.detach(), gradients


def padded(flat, offsets, order, fill) -> torch.Tensor:
    rows = [torch.as_tensor(np.asarray(flat[offsets[i] : offsets[i + 1]])).long() for i in order]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)


def ours(backbone: Backbone, data: Features):
    """The engine's own, all weights trained."""
    shared: dict = {}
    hooks = {name: Own(site, shared) for name, site in backbone.sites.items()}
    attach(backbone, [hooks])
    family = Padded(backbone)
    layout = layouts.build(data, [np.arange(len(data))], family.reads, torch.device("cpu"))
    logits = family.forward(layout)
    loss = torch.nn.functional.cross_entropy(logits, layout.targets)
    loss.backward()
    return layout, logits.detach(), loss.detach(), hooks


@BOTH
def test_loss_logits_and_gradients_are_those_of_transformers(architecture, tmp_path):
    backbone = loaded(architecture, tmp_path)
    data = features()
    layout, logits, loss, hooks = ours(backbone, data)
    attach(backbone, [])
    want_logits, want_loss, gradients = reference(backbone, data, layout.order)
    torch.testing.assert_close(logits, want_logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss, want_loss, rtol=0, atol=1e-12)
    seen = 0
    for name, gradient in gradients.items():
        site, _, part = name.rpartition(".")
        if site not in hooks:
            continue  # tied to one that is there
        torch.testing.assert_close(
            hooks[site].get_parameter(part).grad, gradient, rtol=0, atol=1e-11, msg=name
        )
        seen += 1
    assert seen > 30
    assert any("rossattention" in n or "EncDecAttention" in n for n in gradients)


@BOTH
def test_the_comparison_notices_another_shift_and_an_unmasked_pad(architecture, tmp_path):
    backbone = loaded(architecture, tmp_path)
    data = features()
    attach(backbone, [])
    family = Padded(backbone)
    layout = layouts.build(data, [np.arange(len(data))], family.reads, torch.device("cpu"))
    want, _, _ = reference(backbone, data, layout.order)
    with torch.no_grad():
        right = family.forward(layout)
        torch.testing.assert_close(right, want, rtol=0, atol=1e-12)
        layout.decoder_targets = layout.decoder_targets.roll(1)
        assert (family.forward(layout) - want).abs().max() > 1e-3
        layout.decoder_targets = layout.decoder_targets.roll(-1)
        layout.lengths = layout.lengths.sort().values  # texts end where others do
        assert (family.forward(layout) - want).abs().max() > 1e-3


@BOTH
def test_the_output_layer_sees_the_labelled_tokens_alone(architecture, tmp_path, monkeypatch):
    backbone = loaded(architecture, tmp_path)
    output = backbone.model.get_output_embeddings()
    site = next(one for one in backbone.sites.values() if one.module is output)
    seen = []
    monkeypatch.setattr(
        type(site), "frozen", lambda self, x: seen.append((self, len(x))) or self._forward(x)
    )
    attach(backbone, [])
    family = Padded(backbone)
    data = features()
    layout = layouts.build(data, [np.arange(len(data))], family.reads, torch.device("cpu"))
    family.forward(layout)
    assert [count for one, count in seen if one is site] == [int((data.targets != -100).sum())]


@BOTH
@pytest.mark.parametrize(
    "method", ["full", "lora", "ia3", "bitfit", "adapter", "last_layer", "top_blocks", "layernorm"]
)
def test_every_method_lowers_the_loss_or_says_why_not(architecture, method, tmp_path):
    backbone = loaded(architecture, tmp_path)
    settings = get("methods", method)()
    if problems := settings.problems(backbone):
        assert (architecture, method) == ("t5", "bitfit")
        assert "has none" in problems[0]
        return
    backbone.fresh_head(torch.Generator().manual_seed(0))
    hooks = hooks_of(backbone, settings.build(backbone, torch.Generator().manual_seed(1)))
    if architecture == "bert":
        crossing = [name for name in backbone.sites if ".crossattention." in name]
        assert crossing
        assert set(crossing) <= set(hooks)
    attach(backbone, [{name: hook.double() for name, hook in hooks.items()}])
    family, data = Padded(backbone), features()
    layout = layouts.build(data, [np.arange(len(data))], family.reads, torch.device("cpu"))
    parameters = list({id(p): p for hook in hooks.values() for p in hook.parameters()}.values())
    assert parameters
    optimizer = torch.optim.Adam(parameters, 1e-2)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(family.forward(layout), layout.targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 1e-3, losses


def test_new_cross_attention_is_trained_or_frozen_and_the_same_in_each_run(tmp_path):
    trained = loaded("bert", tmp_path)
    frozen = loaded("bert", tmp_path, new_cross_attention="frozen")
    again = loaded("bert", tmp_path, new_cross_attention="frozen")
    new = [name for name in trained.sites if ".crossattention." in name]
    assert {site.name for site in trained.head_sites} == set(new)
    assert not frozen.head_sites
    for name in new:
        for one, two in zip(
            frozen.sites[name].module.parameters(),
            again.sites[name].module.parameters(),
            strict=True,
        ):
            assert torch.equal(one, two)
    shape = inspect(trained.options, "seq2seq_lm")
    assert [site.name for site in shape.head_sites] == [site.name for site in trained.head_sites]


def test_blocks_of_both_stacks_stand_in_order(tmp_path):
    t5 = loaded("t5", tmp_path)
    blocks = {name: site.block for name, site in t5.sites.items()}
    assert t5.blocks == 4
    assert blocks["shared"] == -1
    assert blocks["encoder.block.1.layer.0.SelfAttention.q"] == 1
    assert blocks["decoder.block.1.layer.1.EncDecAttention.q"] == 3
    assert blocks["decoder.final_layer_norm"] == 4
    assert blocks["lm_head"] == 5
    pair = loaded("bert", tmp_path)
    blocks = {name: site.block for name, site in pair.sites.items()}
    assert pair.blocks == 6
    assert blocks["encoder.embeddings.LayerNorm"] == -1
    assert blocks["decoder.bert.encoder.layer.2.crossattention.self.key"] == 5
    assert blocks["decoder.cls.predictions.decoder"] == 7


@BOTH
def test_parameters_are_counted_once(architecture, tmp_path):
    backbone = loaded(architecture, tmp_path)
    assert backbone.total_parameters == sum(p.numel() for p in backbone.model.parameters())


def test_an_encoder_that_cannot_read_another_is_refused(tmp_path):
    import transformers as t

    config = t.DistilBertConfig(dim=64, n_layers=1, n_heads=4, hidden_dim=128, vocab_size=100)
    t.DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="no cross-attention"):
        inspect(BackboneOptions(str(tmp_path)), "seq2seq_lm")


@BOTH
def test_four_bits_leave_new_parts_whole_and_train(architecture, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = writing.save(architecture, tmp_path / architecture)
    backbone = load(BackboneOptions(str(folder), quantization="nf4"), "seq2seq_lm")
    quantized = {name for name, site in backbone.sites.items() if site.quantized}
    assert any("decoder" in name for name in quantized)
    assert not any(".crossattention." in name or "lm_head" in name for name in quantized)
    assert not any(".cls." in name for name in quantized)
    method = get("methods", "lora")(rank=2)
    hooks = hooks_of(backbone, method.build(backbone, torch.Generator().manual_seed(1)))
    attach(backbone, [hooks])
    family, data = Padded(backbone), features()
    layout = layouts.build(data, [np.arange(len(data))], family.reads, torch.device("cpu"))
    loss = torch.nn.functional.cross_entropy(family.forward(layout), layout.targets)
    loss.backward()
    assert all(p.grad is not None for name, h in hooks.items() for p in h.parameters())


def test_a_model_that_peft_rewrote_reads_answers_too(tmp_path):
    """PEFT's prompt tuning puts virtual tokens in front of what the encoder reads."""
    import peft

    from tuneoff.backbones.padded import Wrapped

    backbone = loaded("t5", tmp_path)
    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3)
    model = peft.get_peft_model(backbone.model, config).double()
    data, attached = features(), Wrapped(backbone, model)
    layout = layouts.build(data, [np.arange(len(data))], attached.reads, torch.device("cpu"))
    with torch.no_grad():
        logits = attached.forward(layout)
        ids = padded(data.tokens, data.offsets, layout.order, 0)
        mask = padded(np.ones_like(data.tokens), data.offsets, layout.order, 0)
        labels = padded(data.targets, data.target_offsets, layout.order, -100)
        said = padded(np.ones_like(data.targets), data.target_offsets, layout.order, 0)
        theirs = model(
            input_ids=ids, attention_mask=mask, labels=labels, decoder_attention_mask=said
        ).logits[labels != -100]
    torch.testing.assert_close(logits, theirs, rtol=0, atol=1e-12)
    attach(backbone, [])
    plain = Padded(backbone).forward(layout).detach()
    assert (logits - plain).abs().max() > 1e-6
