"""What a plan warns of before anything runs: settings that are allowed and known to go wrong."""

from __future__ import annotations

from tuneoff.planning.facts import BackboneFacts
from tuneoff.runs import RunSpec

_OVERFLOWS = ("t5", "mt5", "umt5")


def fp16_overflow(model_type: str, precision: str, *dtypes: str) -> str | None:
    """A sentence about T5 in fp16, or None.

    T5 was pretrained in bfloat16; its feed-forward exceeds fp16's 65504 (transformers issues 4938
    and 14189).
    """
    half = precision == "fp16" or "float16" in dtypes
    if model_type not in _OVERFLOWS or not half:
        return None
    return (
        "T5 was pretrained in bfloat16 and overflows in fp16, so that its losses may become "
        "infinite; use precision: bf16 or fp32 (and dtype: bfloat16 or float32)"
    )


def warnings(spec: RunSpec, backbone: BackboneFacts) -> list[str]:
    """Sentences about one run."""
    held = spec.backbone
    quantized = held.quantization in ("nf4", "fp4")
    dtypes = (held.dtype, *((held.compute_dtype,) if quantized else ()))
    found = [fp16_overflow(backbone.model_type, spec.training.precision, *dtypes)]
    return [one for one in found if one is not None]
