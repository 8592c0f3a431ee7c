"""Our GPT-2 computes what transformers' does, and reads and writes its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from tests.backbones import tiny
from tuneoff.backbones import gpt2
from tuneoff.backbones.gpt2_files import SIZES, GPT2Config
from tuneoff.errors import BackboneError, DataError

LENGTHS = torch.tensor([7, 1, 12, 3, 12, 20, 9])
HEADS = tuple(gpt2.CLASSES)
VARIANTS: list[dict[str, Any]] = [
    {},
    {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu", "n_inner": 48},
    {"scale_attn_weights": False, "activation_function": "relu", "tie_word_embeddings": False},
]


def pair(
    folder: Path, head: str, variant: dict[str, Any] | None = None
) -> tuple[Any, gpt2.GPT2PreTrained]:
    """transformers' model and ours from the same files, in float64."""
    if variant:
        config = transformers.GPT2Config(**{**_shape(), **variant}, num_labels=3)
        torch.manual_seed(0)
        theirs = _theirs(head)(config)
        theirs.save_pretrained(folder)
    else:
        tiny.save("gpt2", folder, head)
    theirs = _theirs(head).from_pretrained(folder, dtype=torch.float64).eval()
    theirs.config.pad_token_id = 0
    return theirs, gpt2.CLASSES[head].from_pretrained(str(folder), dtype=torch.float64)


def _theirs(head: str) -> Any:
    return getattr(transformers, gpt2.CLASSES[head].__name__)


def _shape() -> dict[str, Any]:
    names = ("n_embd", "n_layer", "n_head", "vocab_size", "n_positions")
    return {name: getattr(tiny.configs()["gpt2"], name) for name in names}


def batch() -> tuple[Tensor, Tensor]:
    """(B, L) ids, padded on the right, and the mask."""
    mask = (torch.arange(20) < LENGTHS[:, None]).long()
    drawn = torch.randint(4, 100, mask.shape, generator=torch.Generator().manual_seed(1))
    return drawn * mask, mask


def on_the_left(x: Tensor) -> Tensor:
    """The same rows with their padding in front."""
    return torch.stack([row.roll(20 - int(n)) for row, n in zip(x, LENGTHS, strict=True)])


def loss(model: Any, head: str, ids: Tensor, mask: Tensor) -> Tensor:
    """The loss of transformers' logits, in float64; it computes a language model's in float32."""
    out = model(input_ids=ids, attention_mask=mask)
    labels = torch.arange(len(ids)) % 3
    if head == "sequence_classification":
        return F.cross_entropy(out.logits, labels)
    if head == "causal_lm":
        target = ids.masked_fill(mask == 0, -100)[:, 1:]
        return F.cross_entropy(out.logits[:, :-1].flatten(0, 1), target.flatten())
    ends = [x.masked_fill(mask == 0, -1e300) for x in (out.start_logits, out.end_logits)]
    start, end = F.cross_entropy(ends[0], labels * 0), F.cross_entropy(ends[1], LENGTHS - 1)
    return (start + end) / 2


def own_loss(model: Any, head: str, ids: Tensor, mask: Tensor) -> Tensor:
    """Our model's own loss."""
    if head == "question_answering":
        first = mask.argmax(1)
        return model(ids, mask, start_positions=first, end_positions=first + LENGTHS - 1).loss  # type: ignore[no-any-return]
    labels = ids.masked_fill(mask == 0, -100)
    if head == "sequence_classification":
        labels = torch.arange(len(ids)) % 3
    return model(ids, mask, labels=labels).loss  # type: ignore[no-any-return]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("variant", VARIANTS, ids=["plain", "inverse-gelu", "untied-relu"])
@pytest.mark.parametrize("head", HEADS)
def test_equals_transformers(head: str, variant: dict[str, Any], side: str, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, head, variant)
    ids, mask = batch()
    given = (ids, mask) if side == "right" else (on_the_left(ids), on_the_left(mask))
    with torch.no_grad():
        expected, got = theirs(input_ids=ids, attention_mask=mask), ours(*given)
    for name in ("logits", "start_logits", "end_logits"):
        x, y = getattr(expected, name, None), getattr(got, name)
        assert (x is None) == (y is None)
        if x is None:
            continue
        if head != "sequence_classification":
            x, y = x[mask.bool()], y[given[1].bool()]
        assert torch.allclose(y, x, atol=1e-12, rtol=0)
    expected_loss, got_loss = loss(theirs, head, ids, mask), own_loss(ours, head, *given)
    assert abs(float((expected_loss - got_loss).detach())) < 1e-12
    expected_loss.backward()
    got_loss.backward()
    others = dict(theirs.named_parameters())
    assert others.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, others[name].grad, atol=1e-12, rtol=0), name
    with torch.no_grad():  # negative control: one other weight
        ours.transformer.h[0].attn.c_attn.weight[3, 5] += 0.1
        assert abs(float(own_loss(ours, head, *given) - expected_loss)) > 1e-9


def test_dropout_is_where_transformers_has_it(tmp_path: Path) -> None:
    """Without padding both draw the same masks from one seed."""
    theirs, ours = pair(tmp_path, "causal_lm")
    ids = torch.randint(4, 100, (3, 9))
    outs = []
    for model in (theirs, ours):
        model.train()
        torch.manual_seed(5)
        outs.append(model(ids).logits)
    assert torch.allclose(outs[0], outs[1], atol=1e-12, rtol=0)
    assert not torch.allclose(ours(ids).logits, outs[1], atol=1e-3)


def test_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    _, ours = pair(tmp_path, "causal_lm")
    ours.train()
    ids, mask = batch()
    seen: list[dict[str, Tensor]] = []
    kept: list[int] = []
    for on in (False, True):
        ours.zero_grad()
        (ours.gradient_checkpointing_enable if on else ours.gradient_checkpointing_disable)()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x.numel()) or x, lambda x: x
        ):
            torch.manual_seed(3)
            value = own_loss(ours, "causal_lm", ids, mask)
        value.backward()
        seen.append({name: p.grad.clone() for name, p in ours.named_parameters()})
        kept.append(sum(saved))
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])
    assert kept[1] < kept[0] / 2  # and it does save what it is there for


@pytest.mark.parametrize("side", ["right", "left"])
def test_cached_generation_equals_uncached_and_transformers(side: str, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "causal_lm")
    with torch.no_grad():
        for model in (theirs, ours):
            for name, p in model.named_parameters():
                if p.ndim == 2 and "wte" not in name:
                    p.mul_(8.0)  # or it says one word for ever
    ids, mask = batch()
    left = on_the_left(ids), on_the_left(mask)
    got = ours.generate(*((ids, mask) if side == "right" else left), max_new_tokens=9)
    said = theirs.generate(
        input_ids=left[0],
        attention_mask=left[1],
        max_new_tokens=9,
        do_sample=False,
        eos_token_id=99,
    )
    stop = (said[:, 20:] == 99).cumsum(1) == 0
    assert torch.equal(got[stop], said[:, 20:][stop])
    assert len(set(got.flatten().tolist())) > 10
    whole, real = left
    for step in range(9):  # without a cache, from the start each time
        last = ours(whole, real).logits[:, -1]
        assert torch.equal(last.argmax(1), got[:, step])
        whole = torch.cat([whole, got[:, step : step + 1]], 1)
        real = torch.cat([real, torch.ones_like(real[:, :1])], 1)


def test_a_cache_may_be_filled_in_parts(tmp_path: Path) -> None:
    _, ours = pair(tmp_path, "causal_lm")
    ids, mask = batch()
    cache = gpt2.Cache(20)
    first = mask.clone()
    first[:, 5:] = 0
    after = mask - first
    some = after.any(1)  # rows that go on
    with torch.no_grad():
        whole = ours(ids[some], mask[some]).logits
        one = ours(ids[some], first[some], past_key_values=cache).logits
        two = ours(ids[some], after[some], past_key_values=cache).logits
    assert torch.allclose(one + two, whole, atol=1e-12, rtol=0)
    assert not torch.allclose(ours(ids[some], after[some]).logits, two, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_round_trip(head: str, tmp_path: Path) -> None:
    """Ours is read by transformers, every name and number; and by ourselves."""
    _, ours = pair(tmp_path / "theirs", head)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.01)
    ours.config.id2label = {0: "a", 1: "b", 2: "c"}
    ours.save_pretrained(tmp_path / "ours")
    back, info = _theirs(head).from_pretrained(
        tmp_path / "ours", dtype="auto", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert back.dtype == torch.float64
    assert back.config.id2label == ours.config.id2label
    again = type(ours).from_pretrained(str(tmp_path / "ours"), dtype=torch.float64)
    assert again.config == ours.config
    for name, parameter in back.named_parameters():
        assert torch.equal(parameter, ours.get_parameter(name)), name
        assert torch.equal(parameter, again.get_parameter(name)), name
    auto = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert auto.architectures == [type(ours).__name__]


def test_older_files_and_shards(tmp_path: Path) -> None:
    """The hub's first checkpoints: pytorch_model.bin, no prefix, causal masks as buffers."""
    theirs, _ = pair(tmp_path / "new", "causal_lm")
    state = {
        name.removeprefix("transformer."): value
        for name, value in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    state["h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
    old = tmp_path / "old"
    old.mkdir()
    torch.save(state, old / "pytorch_model.bin")
    (old / "config.json").write_text((tmp_path / "new/config.json").read_text())
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    for folder in (old, tmp_path / "shards"):
        ours = gpt2.GPT2LMHeadModel.from_pretrained(str(folder), dtype=torch.float64)
        assert ours.lm_head.weight is ours.transformer.wte.weight
        for name, parameter in theirs.named_parameters():
            assert torch.equal(parameter, ours.get_parameter(name)), (folder, name)


def _without(folder: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _config(folder: Path, **changes: Any) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | changes))


BROKEN = {
    "missing": (lambda f: _without(f, "transformer.h.1.mlp.c_fc.weight"), r"1 of the 40 .*missing"),
    "size": (lambda f: _config(f, n_positions=32), r"another size.*wpe"),
    "cut": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:5000]
        ),
        "cannot be read",
    ),
    "gone": (lambda f: (f / "model.safetensors").unlink(), "no pytorch_model.bin"),
    "bert": (lambda f: _config(f, model_type="bert"), "gpt2 alone.*'bert'"),
    "cross": (lambda f: _config(f, add_cross_attention=True), "add_cross_attention"),
    "heads": (lambda f: _config(f, n_head=7), "no multiple of n_head 7"),
    "act": (lambda f: _config(f, activation_function="silu"), "'silu'.*gelu_new"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_checkpoints_are_named(case: str, tmp_path: Path) -> None:
    tiny.save("gpt2", tmp_path, "causal_lm")
    breaks, message = BROKEN[case]
    breaks(tmp_path)
    with pytest.raises(BackboneError, match=message):
        gpt2.GPT2LMHeadModel.from_pretrained(str(tmp_path))


def test_bad_batches_are_named(tmp_path: Path) -> None:
    _, ours = pair(tmp_path, "causal_lm")
    with pytest.raises(DataError, match="has no token"):
        ours(torch.ones((2, 3)).long(), torch.tensor([[1, 1, 1], [0, 0, 0]]))
    with pytest.raises(DataError, match=r"65 tokens.*64 positions"):
        ours(torch.ones((1, 65)).long())
    with pytest.raises(BackboneError, match="takes no output_attentions"):
        ours(torch.ones((1, 5)).long(), output_attentions=True)


@pytest.mark.parametrize("name", SIZES)
def test_the_four_sizes(name: str) -> None:
    config = GPT2Config.of_size(name)
    with torch.device("meta"):
        ours = gpt2.GPT2LMHeadModel(config)
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES[name]))
    shapes = {key: p.shape for key, p in ours.named_parameters()}
    assert shapes == {key: p.shape for key, p in theirs.named_parameters()}
    millions = sum(p.numel() for p in ours.parameters()) / 1e6
    published = {"gpt2": 124.4, "gpt2-medium": 354.8, "gpt2-large": 774.0, "gpt2-xl": 1557.6}
    assert millions == pytest.approx(published[name], abs=0.1)


def test_a_new_model_starts_as_the_paper_says() -> None:
    ours = gpt2.GPT2LMHeadModel.from_config(GPT2Config(n_layer=8, n_embd=64, n_head=4))
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=8, n_embd=64, n_head=4))
    for name, parameter in theirs.requires_grad_(False).named_parameters():
        drawn = ours.get_parameter(name).detach()
        assert float(drawn.std()) == pytest.approx(float(parameter.std()), rel=0.1, abs=1e-9), name
        assert float(drawn.mean()) == pytest.approx(float(parameter.mean()), abs=2e-3)
