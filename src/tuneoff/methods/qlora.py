"""QLoRA: LoRA on a backbone whose weights are rounded to 4 bits (NormalFloat, nf4).

Saves memory, not time: the weights are dequantized in every step unless the backbone keeps them
(`dequantized_cache_gb`).

Source: Dettmers et al. 2023 (arXiv 2305.14314): all linear modules; lora_alpha 16; rate 2e-4 for
decoders (artidoro/qlora). The rank is LoRA's, since the paper finds that it hardly matters, so
that `lora` and `qlora` differ in the rounding alone.
"""

from __future__ import annotations

from typing import ClassVar

from tuneoff.methods.lora import LoRA


class QLoRA(LoRA):
    """LoRA on a 4-bit backbone; the least memory for a large model."""

    quantization: ClassVar = "nf4"
