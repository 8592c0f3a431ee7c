"""`generation_config.json`: how a saved model writes, so that other programs' `generate` writes as
the study did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneoff.backbones.backbone import Backbone
from tuneoff.tasks import Task
from tuneoff.training.prompts import end_of_text, start_of_text

FILE = "generation_config.json"


def generation_config(task: Task, backbone: Backbone) -> Any | None:
    """transformers' GenerationConfig of a task's settings; None for a task that writes nothing."""
    from transformers import GenerationConfig

    settings = task.generation_for(backbone.head)
    if settings is None:
        return None
    tokenizer, unseeded = backbone.tokenizer, {"seed"}
    given = {name: value for name, value in settings.in_force().items() if name not in unseeded}
    if settings.do_sample and settings.top_k is None:
        given["top_k"] = 0  # transformers cuts at 50 where nothing is said
    own = task.ends(backbone.head, tokenizer)
    ends = list(end_of_text(backbone) if own is None else own)
    given["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    pad = tokenizer.pad_token_id
    given["pad_token_id"] = pad if pad is not None else backbone.config.pad_token_id
    if backbone.kind == "encoder_decoder":
        given["decoder_start_token_id"] = start_of_text(backbone)
    return GenerationConfig(**{name: value for name, value in given.items() if value is not None})


def write_generation(task: Task, backbone: Backbone, folder: Path) -> None:
    """Writes `generation_config.json` for a task that writes, in place of the backbone's own."""
    found = generation_config(task, backbone)
    if found is not None:
        found.save_pretrained(folder)
