"""DoRA: LoRA's update trains the direction of the weights, a vector their magnitude.

W' = m * (W + scaling * B A) / ||W + scaling * B A||, one norm per output, which is held constant in
the gradient (section 4.3 of the paper), as PEFT does.

Source: Liu et al. 2024 (arXiv 2402.09353); NVlabs/DoRA: LoRA's settings at a slightly lower rate,
half the rank suffices. No dropout, which PEFT's documentation finds much faster.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tuneoff.methods import Rates
from tuneoff.methods.lora import LoRA


class DoRA(LoRA):
    """LoRA with the weights' magnitude trained apart; somewhat slower than LoRA."""

    use_dora: Literal[True] = True
    """Always on."""

    rates: ClassVar = {
        "encoder": Rates(2e-4, (5e-5, 1e-4, 2e-4, 5e-4, 1e-3)),
        "decoder": Rates(2e-4, (5e-5, 1e-4, 2e-4, 5e-4, 1e-3)),
        "encoder_decoder": Rates(2e-4, (5e-5, 1e-4, 2e-4, 5e-4, 1e-3)),
    }
