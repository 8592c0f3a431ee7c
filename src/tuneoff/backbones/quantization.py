"""4-bit and 8-bit backbones through bitsandbytes, on CUDA and CPU alike.

Only pretrained linear modules inside the blocks are quantized. Heads are new: a quantized new head
cannot be trained (transformers 5.23 with bitsandbytes 0.50 does quantize it, or crashes).
Source: Dettmers et al. 2023 (QLoRA, arXiv 2305.14314); bitsandbytes documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tuneoff.errors import BackboneError

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone, BackboneOptions

QUANTIZATIONS = ("none", "nf4", "fp4", "int8")


def quantization_config(options: BackboneOptions, skip: list[str]) -> Any | None:
    """transformers' BitsAndBytesConfig for the options, or None for `none`.

    skip: dotted names of modules that stay as they are (heads, in float32).
    """
    if options.quantization == "none":
        return None
    try:
        import bitsandbytes  # noqa: F401
        from transformers import BitsAndBytesConfig
    except ImportError as error:
        raise BackboneError(
            f"quantization {options.quantization!r} needs bitsandbytes: pip install bitsandbytes"
        ) from error
    kept = [*skip, "lm_head"]
    if options.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=options.quantization,
        bnb_4bit_use_double_quant=options.double_quantization,
        bnb_4bit_compute_dtype=getattr(torch, options.compute_dtype),
        llm_int8_skip_modules=kept,
    )


def quantize(model: torch.nn.Module, config: Any, device: str) -> None:
    """Replace the (I, O) linear layers of a model of our own by bitsandbytes' on `device`, as
    transformers does when it loads with this BitsAndBytesConfig."""
    import bitsandbytes as bnb

    for name, module in list(model.named_modules()):
        if type(module).__name__ != "Conv1D" or name in config.llm_int8_skip_modules:
            continue
        source: Any = module
        weight = source.weight.data.t().contiguous()
        outputs, inputs = weight.shape
        made: Any
        if config.load_in_4bit:
            kind = {"compress_statistics": config.bnb_4bit_use_double_quant}
            kind["quant_type"] = config.bnb_4bit_quant_type
            made = bnb.nn.Linear4bit(
                inputs, outputs, compute_dtype=config.bnb_4bit_compute_dtype, device="meta", **kind
            )
            made.weight = bnb.nn.Params4bit(weight, requires_grad=False, **kind)
        else:
            made = bnb.nn.Linear8bitLt(inputs, outputs, has_fp16_weights=False, device="meta")
            made.threshold = made.state.threshold = config.llm_int8_threshold
            made.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        made.bias = source.bias
        model.set_submodule(name, made.to(device))
    model.to(device)


def linear_4bit(module: Any, x: torch.Tensor) -> torch.Tensor:
    """The frozen 4-bit layer on x: (..., I) -> (..., O), in the compute dtype, returned in x's.

    The module's own forward is not used: on CPUs with AVX512-BF16 it repacks the weights in place,
    with their scales rounded to bfloat16, on the first call in evaluation mode (bitsandbytes
    0.50, `Linear4bit.forward`), so that evaluation would change the model being trained.
    """
    import bitsandbytes as bnb

    bias = module.bias
    entered = x.to(module.compute_dtype)
    y = bnb.matmul_4bit(
        entered,
        module.weight,
        quant_state=module.weight.quant_state,
        bias=None if bias is None else bias.to(entered.dtype),
    )
    return y.to(x.dtype)  # type: ignore[no-any-return]


def dequantize(module: Any) -> torch.Tensor:
    """(O, I) weight of a bitsandbytes module as its forward uses it: in the compute dtype for
    4 bits, in float32 for 8 bits."""
    import bitsandbytes.functional as bnb

    if type(module).__name__ == "Linear4bit":
        weight = bnb.dequantize_4bit(module.weight.data, module.weight.quant_state)
        if tuple(weight.shape) != (module.out_features, module.in_features):
            weight = weight.t()
        return weight.to(module.compute_dtype)  # type: ignore[no-any-return]
    weight = module.weight
    scales = getattr(weight, "SCB", None)
    if scales is None:
        scales = module.state.SCB
    return bnb.int8_vectorwise_dequant(weight.data, scales).to(torch.float32)  # type: ignore[no-any-return]


def keep_dequantized(backbone: Backbone, budget_bytes: int) -> int:
    """Keep the 4-bit weights dequantized, block after block, while they fit the budget.

    The numbers are those that bitsandbytes computes with, bit for bit; the memory of such a run is
    not 4-bit memory, and is reported apart. Returns the bytes kept.
    """
    kept = 0
    for site in backbone.sites.values():
        if not site.quantized or type(site.module).__name__ != "Linear4bit":
            continue
        dtype = getattr(torch, backbone.options.compute_dtype)
        size = site.in_features * site.out_features * dtype.itemsize
        if kept + size > budget_bytes:
            break
        site.dequantized = dequantize(site.module)
        kept += size
    return kept
