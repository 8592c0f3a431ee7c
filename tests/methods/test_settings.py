"""Settings that do not fit are named, with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods import tiny
from tuneoff import registry
from tuneoff.backbones.backbone import BackboneOptions, inspect
from tuneoff.methods import Method
from tuneoff.methods.adapter import Adapter
from tuneoff.methods.lora import LoRA
from tuneoff.methods.peft import Peft

FAULTS: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("lora", {"target_modules": ["qwery"]}, "bert", ("target_modules", "'qwery'", "query")),
    ("lora", {"rank": 17}, "bert", ("rank: 17", "16 features", "at most 16")),
    ("dora", {"rank": 17}, "bert", ("rank: 17",)),
    ("qlora", {"target_modules": "nothing"}, "gpt2", ("target_modules", "'nothing'")),
    ("ia3", {"feedforward_modules": ["ffn_up"]}, "bert", ("feedforward_modules", "target_modules")),
    ("ia3", {"target_modules": ["ky"]}, "bert", ("target_modules", "'ky'")),
    ("top_blocks", {"k": 3}, "bert", ("k: 3", "2 blocks", "at most 2")),
    ("adapter", {"reduction_factor": 17}, "bert", ("reduction_factor: 17", "16 features")),
    ("bitfit", {}, "t5", ("biases", "layernorm")),
    ("peft", {"peft_type": "LOHA", "target_modules": ["qwery"]}, "bert", ("LOHA", "target")),
    ("peft", {"peft_type": "OFT", "target_modules": "all-linear"}, "gpt2", ("OFT", "Conv1D")),
    ("peft", {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}, "t5", ("virtual tokens",)),
]


@pytest.mark.parametrize(("name", "settings", "family", "words"), FAULTS)
def test_problems(
    name: str, settings: dict[str, Any], family: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    made: Method = registry.get("methods", name)(**settings)
    shape = inspect(BackboneOptions(tiny.saved(tmp_path, family)), classes=3)
    (problem,) = made.problems(shape)
    assert all(word in problem for word in words), problem


def test_two_widths() -> None:
    with pytest.raises(ValueError, match="either reduction_factor or bottleneck_size"):
        Adapter(reduction_factor=8, bottleneck_size=4)
    hooks = Adapter(bottleneck_size=4).build(tiny.backbone("bert"), torch.Generator())
    assert {hook.get_parameter("down").shape[0] for hook in hooks.values()} == {4}


def test_styles_of_adapters() -> None:
    bone = tiny.backbone("bert")
    both = Adapter(reduction_factor=4).build(bone, torch.Generator())
    one = Adapter(style="pfeiffer", reduction_factor=4).build(bone, torch.Generator())
    assert {bone.sites[name].role for name in both} == {"attention_output", "ffn_down"}
    assert {bone.sites[name].role for name in one} == {"ffn_down"}
    assert 2 * len(one) == len(both)


def test_lora_plus() -> None:
    """B learns at `lora_plus_ratio` times A's rate, around the same geometric mean."""
    made = LoRA(lora_plus_ratio=16)
    hook = next(iter(made.build(tiny.backbone("bert"), torch.Generator()).values()))
    assert (hook.learning_rate_ratio("A"), hook.learning_rate_ratio("B")) == (1.0, 16)
    plain, plus = LoRA().own_rates("encoder"), made.own_rates("encoder")
    assert plus.default == pytest.approx(plain.default / 4)
    assert plus.default in plus.grid


def test_targets() -> None:
    """Roles, ends of names, globs, patterns and `all-linear`; a fused projection for `query`."""

    def chosen(family: str, targets: Any) -> list[str]:
        bone = tiny.backbone(family)
        return list(LoRA(rank=1, target_modules=targets).build(bone, torch.Generator()))

    first = "bert.encoder.layer.0.attention.self.query"
    assert chosen("bert", ("query",))[0] == first
    assert chosen("bert", "self.query") == chosen("bert", "query")
    assert chosen("bert", r"bert\.encoder\.layer\.0\..*query") == [first]
    assert chosen("bert", "*layer.0*query") == [first]
    assert len(chosen("bert", "all-linear")) == 12
    assert chosen("gpt2", ("query", "value")) == [
        "transformer.h.0.attn.c_attn",
        "transformer.h.1.attn.c_attn",
    ]
    assert not any("lm_head" in n or "score" in n for n in chosen("llama", "all-linear"))


def test_every_fault_of_a_peft_configuration_is_named() -> None:
    with pytest.raises(ValueError, match="peft_type") as unknown:
        Peft(peft_type="LOHAA")
    assert "did you mean 'LOHA'?" in str(unknown.value)
    with pytest.raises(ValueError, match="alpha") as several:
        Peft(peft_type="loha", rr=3, alpha="much", task_type="SEQ_CLS")
    text = str(several.value)
    assert all(
        word in text
        for word in (
            "rr: LoHaConfig has no such key",
            "alpha: input should be",
            "'much'",
            "task_type: tuneoff fills this in",
        )
    )
    made = Peft(peft_type="loha", r=3)
    assert made.peft_type == "LOHA"
    assert Peft.model_validate_json(made.model_dump_json()) == made
    assert made != Peft(peft_type="loha", r=4)
