"""A model that is only asked, not trained: a judge, or an encoder that compares texts."""

from __future__ import annotations

from typing import Any

import torch

from tuneoff.backbones.backbone import BackboneOptions, from_hub


def load_plain(options: BackboneOptions, auto: Any) -> Any:
    """The model in float32, in evaluation mode, its weights frozen.

    auto: a class of transformers such as `AutoModel`. Raises BackboneError when it cannot be had.
    """
    from transformers.utils import logging

    shown = logging.get_verbosity()
    logging.set_verbosity_error()  # a pooler or a head that is not used is no news
    try:
        model = from_hub(options, auto, dtype=torch.float32)
    finally:
        logging.set_verbosity(shown)
    return model.eval().requires_grad_(False)
