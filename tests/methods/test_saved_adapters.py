"""What is saved, `PeftModel.from_pretrained` loads, and so do we."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.methods import tiny
from tuneoff import registry
from tuneoff.errors import TuneoffError
from tuneoff.methods import Method
from tuneoff.methods._peft_form import adapter_state
from tuneoff.methods.ia3 import IA3
from tuneoff.methods.lora import LoRA

METHODS: dict[str, Method] = {
    "lora": LoRA(rank=4, target_modules=("query", "value", "ffn_down")),
    "all_linear": LoRA(rank=4, use_rslora=True),
    "dora": LoRA(rank=4, use_dora=True),
    "one_block": LoRA(rank=2, target_modules=r".*\.1\..*"),
    "ia3": IA3(),
    "layernorm": registry.get("methods", "layernorm")(),
}
FAMILIES = (*tiny.FAMILIES, "roberta", "distilbert")


def model(family: str) -> Any:
    """Also families whose heads have two layers, inside one module or beside each other."""
    if family in tiny.FAMILIES:
        return tiny.model(family)
    torch.manual_seed(0)
    if family == "roberta":
        made: Any = transformers.RobertaForSequenceClassification(
            transformers.RobertaConfig(
                vocab_size=40,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=26,
                num_labels=tiny.CLASSES,
                pad_token_id=0,
            )
        )
    else:
        made = transformers.DistilBertForSequenceClassification(
            transformers.DistilBertConfig(
                vocab_size=40,
                dim=16,
                n_layers=2,
                n_heads=2,
                hidden_dim=32,
                max_position_embeddings=24,
                num_labels=tiny.CLASSES,
            )
        )
    return made.eval().double().requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_peft_loads_what_is_saved(name: str, family: str, tmp_path: Path) -> None:
    method, inputs = METHODS[name], tiny.batch()
    made = model(family)
    made.save_pretrained(tmp_path / "base")
    bone = tiny.wrapped(made)
    hooks = tiny.built(method, bone, noise=0.2)
    heads = tiny.heads(bone)
    with torch.no_grad():
        for head in tiny.parameters(heads):
            head.add_(0.3 * torch.randn(head.shape))
    expected = tiny.logits(bone, [{**hooks, **heads}], inputs)

    method.peft_config(bone).save_pretrained(tmp_path / "adapter")
    save_file(adapter_state(method, hooks, heads), tmp_path / "adapter/adapter_model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns of missing keys
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*|Unsupported layer type.*")
        base = type(made).from_pretrained(tmp_path / "base", dtype=torch.float64)
        loaded = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    keys = {k: v for k, v in inputs.items() if k != "labels"}
    with torch.no_grad():
        found = loaded(**keys).logits
        with loaded.disable_adapter():
            without = loaded(**keys).logits
    assert float((found - expected).detach().abs().max()) < 1e-10
    assert float((without - expected).detach().abs().max()) > 1e-3  # negative control

    again = tiny.built(method, bone, seed=9)
    saved = load_file(tmp_path / "adapter/adapter_model.safetensors")
    own = {n.removeprefix("base_model.model."): v for n, v in saved.items()}
    own = {
        n: v
        for n, v in own.items()
        if not any(n == f"{s}.{p}" for s in heads for p in ("weight", "bias"))
    }
    method.load_peft_state(again, own)
    difference = tiny.logits(bone, [{**again, **heads}], inputs) - expected
    assert float(difference.detach().abs().max()) == 0.0


def test_an_adapter_of_other_settings_is_refused() -> None:
    bone = tiny.backbone("bert")
    state = LoRA(rank=4).peft_state(tiny.built(LoRA(rank=4), bone))
    with pytest.raises(TuneoffError, match=r"is \(4, 16\), expected \(8, 16\)"):
        LoRA().load_peft_state(tiny.built(LoRA(), bone), state)
    few = LoRA(rank=4, target_modules="query")
    with pytest.raises(TuneoffError, match="belongs to no module"):
        few.load_peft_state(tiny.built(few, bone), state)
    with pytest.raises(TuneoffError, match="lora_magnitude_vector is missing"):
        LoRA(rank=4, use_dora=True).load_peft_state(
            tiny.built(LoRA(rank=4, use_dora=True), bone), state
        )


def test_methods_that_peft_does_not_know() -> None:
    bone = tiny.backbone("bert")
    for name in ("full", "last_layer", "top_blocks", "bitfit", "adapter"):
        method = registry.get("methods", name)()
        assert method.peft_config(bone) is None
        assert method.peft_state(tiny.built(method, bone)) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "LOHA", "r": 4, "target_modules": ["query", "value"]},
        {"peft_type": "VERA", "r": 4, "target_modules": ["query", "value"]},
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3},
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3},
    ],
)
def test_the_library_s_own_methods_train_and_load(settings: dict[str, Any], tmp_path: Path) -> None:
    """A step changes the logits and not the backbone; saved and loaded, they are the same."""
    method: Method = registry.get("methods", "peft")(**settings)
    made, inputs = tiny.model("bert", dtype=torch.float32), tiny.batch()
    made.save_pretrained(tmp_path / "base")
    bone = tiny.wrapped(made)
    wrapped = method.wrap(bone, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    trained = {n: p for n, p in wrapped.named_parameters() if p.requires_grad}
    assert any("classifier" in n for n in trained)
    assert any("classifier" not in n for n in trained)
    frozen = {n: p.clone() for n, p in wrapped.named_parameters() if not p.requires_grad}
    before = wrapped(**inputs)
    before.loss.backward()
    torch.optim.SGD(trained.values(), lr=0.5).step()
    after = wrapped(**inputs).logits
    assert float((after - before.logits).detach().abs().max()) > 1e-4
    assert all(torch.equal(frozen[n], p) for n, p in wrapped.named_parameters() if n in frozen)

    wrapped.save_pretrained(tmp_path / "adapter")
    base = type(made).from_pretrained(tmp_path / "base")
    loaded = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    wrapped.eval()
    assert float((loaded(**inputs).logits - wrapped(**inputs).logits).detach().abs().max()) < 1e-6
