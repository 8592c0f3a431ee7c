"""Any method of the PEFT library, by its `peft_type` and that configuration's own keys.

    methods:
      - peft: {peft_type: LOHA, r: 8, alpha: 16}
      - peft: {peft_type: PROMPT_TUNING, num_virtual_tokens: 20}

The whole model is rewritten by PEFT, so such a run is trained alone, on padded batches. Keys and
their types are checked against PEFT's configuration class; what tuneoff knows itself (the task,
the heads to save) is filled in.

Rates per type: PEFT's documentation and examples (DeLoRA 10 to 100 times LoRA's, C3A 1e-1 and up,
RoAd 1e-3, LoKr 3e-3, OFT and BOFT 1e-4, prefix tuning 5e-3, prompt tuning 3e-2 with AdamW); VeRA:
Kopiczko et al. 2024 (arXiv 2310.11454), about ten times LoRA's; the others a middling 1e-3. Grids
span a decade each way.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, field_validator, model_validator

from tuneoff.methods import Method, Rates
from tuneoff.registry import nearest

if TYPE_CHECKING:
    import torch

    from tuneoff.backbones.backbone import Backbone

_OURS = {
    "task_type",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "auto_mapping",
    "peft_version",
    "peft_type",
}
_RATES = {
    "PROMPT_TUNING": 3e-2, "MULTITASK_PROMPT_TUNING": 3e-2, "PREFIX_TUNING": 5e-3, "P_TUNING": 5e-3,
    "IA3": 3e-3, "VERA": 4e-3, "PVERA": 4e-3, "LOKR": 3e-3, "DELORA": 5e-3, "C3A": 1e-1,
    "OFT": 1e-4, "BOFT": 1e-4, "LORA": 3e-4, "ADALORA": 5e-4, "XLORA": 3e-4,
}  # fmt: skip


class Peft(Method):
    """Any configuration of the PEFT library, trained alone."""

    model_config = ConfigDict(extra="allow")

    peft_type: str
    """A type that the installed PEFT knows, e.g. `LOHA`, `VERA`, `PREFIX_TUNING`."""

    alone: ClassVar = True
    rates: ClassVar = {
        kind: Rates(1e-3, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2))
        for kind in ("encoder", "decoder", "encoder_decoder")
    }

    @property
    def keys(self) -> dict[str, Any]:
        """The configuration's own keys."""
        return dict(self.model_extra or {})

    def own_rates(self, kind: str) -> Rates:
        default = _RATES.get(self.peft_type)
        if default is None or self.learning_rates is not None:
            return super().own_rates(kind)
        return Rates(
            default,
            tuple(
                sorted({default} | {float(f"{default * step:.2g}") for step in (0.1, 0.3, 3, 10)})
            ),
        )

    @field_validator("peft_type")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()

    @model_validator(mode="after")
    def _known(self) -> Peft:
        kinds = _kinds()
        if self.peft_type not in kinds:
            raise ValueError(
                f"peft_type: PEFT knows no {self.peft_type!r}"
                f"{nearest(self.peft_type, list(kinds))} Known: {', '.join(sorted(kinds))}"
            )
        faults = _faults(kinds[self.peft_type], self.keys)
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def problems(self, backbone: Backbone) -> list[str]:
        import copy

        from peft import get_peft_model

        if backbone.device.type != "meta":
            return []
        config = self.peft_config(backbone)
        if (
            config.is_prompt_learning
            and backbone.kind == "encoder_decoder"
            and backbone.head == "sequence_classification"
        ):
            return [
                f"peft: {self.peft_type} puts virtual tokens in front, which encoder-decoders in "
                "transformers do not take as classifiers; use LORA, IA3 or another type"
            ]
        try:
            get_peft_model(copy.deepcopy(backbone.model), config, low_cpu_mem_usage=True)
        except (ValueError, TypeError, KeyError) as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            return [f"peft: {self.peft_type} cannot be put on {backbone.options.model}: {text[0]}"]
        except (RuntimeError, NotImplementedError):
            return []  # it wants real weights to start from, and says no more about the fit
        return []

    def peft_config(self, backbone: Backbone) -> Any:
        from tuneoff.methods._peft_form import common

        kind = _kinds()[self.peft_type]
        given, fields = common(backbone), {field.name for field in dataclasses.fields(kind)}
        given["inference_mode"] = False
        heads = [*(given["modules_to_save"] or []), *(self.keys.get("modules_to_save") or [])]
        given["modules_to_save"] = list(dict.fromkeys(heads)) or None
        return kind(**{**self.keys, **{k: v for k, v in given.items() if k in fields}})

    def wrap(self, backbone: Backbone, generator: torch.Generator) -> Any:
        """The PEFT model around the backbone's, which it changes; heads are trained in it.

        Its new parameters are drawn from `generator`.
        """
        import torch
        from peft import get_peft_model

        seed = int(torch.randint(2**62, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = get_peft_model(backbone.model, self.peft_config(backbone))
        if not any(".modules_to_save." in name for name, _ in model.named_parameters()):
            for site in backbone.head_sites:  # PEFT made no copies of them to train
                site.module.requires_grad_(True)
        return model


def _kinds() -> dict[str, Any]:
    """PEFT's configuration classes by type."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {str(getattr(k, "value", k)): v for k, v in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def _faults(kind: Any, keys: dict[str, Any]) -> list[str]:
    """Unknown keys, keys that are ours to fill in, and values of another type."""
    allowed = sorted({field.name for field in dataclasses.fields(kind)} - _OURS)
    hints = typing.get_type_hints(kind)
    faults = []
    for key, value in keys.items():
        if key in _OURS:
            faults.append(f"{key}: tuneoff fills this in; leave it out")
        elif key not in allowed:
            faults.append(
                f"{key}: {kind.__name__} has no such key{nearest(key, allowed)} "
                f"Allowed: {', '.join(allowed)}"
            )
        else:
            try:
                TypeAdapter(hints[key]).validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                faults.append(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}")
    if not faults:
        try:
            kind(**keys)
        except (ValueError, TypeError) as error:
            faults.append(str(error))
    return faults
