"""Learning-rate schedules: what the peak rate is multiplied by at a step.

The same numbers as transformers' `get_constant_schedule_with_warmup`,
`get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`, first step included.
"""

from __future__ import annotations

import math

from tuneoff.study import Training


def total_steps(training: Training, examples: int) -> int:
    """Optimizer steps of a run on so many train examples."""
    if training.max_steps is not None:
        return training.max_steps
    per_epoch = -(-examples // training.batch_size)
    return max(1, math.ceil(training.epochs * per_epoch))


def warmup_steps(training: Training, steps: int) -> int:
    """Steps in which the rate rises."""
    if training.warmup_steps is not None:
        return training.warmup_steps
    return math.ceil(training.warmup_ratio * steps)


def factor(training: Training, step: int, steps: int) -> float:
    """The multiplier at `step` (from 0) of `steps`."""
    warm = warmup_steps(training, steps)
    if step < warm:
        return step / max(1, warm)
    if training.schedule == "constant":
        return 1.0
    progress = (step - warm) / max(1, steps - warm)
    if training.schedule == "linear":
        return max(0.0, 1.0 - progress)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
