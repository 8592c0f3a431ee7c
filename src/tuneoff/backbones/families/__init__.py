"""Families: the padding-free forward of an architecture, one file each, over the model's own sites.

A file's class names the `model_type`s that it serves. Architectures without a file run through
their own Hugging Face forward on padded, length-sorted micro-batches (`backbones/padded.py`).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from tuneoff.backbones.backbone import Backbone
from tuneoff.backbones.families.family import Family


@cache
def _classes() -> dict[str, type[Family]]:
    found: dict[str, type[Family]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, Family) and value is not Family:
                found.update(dict.fromkeys(value.model_types, value))
    return found


def family_of(backbone: Backbone) -> Family | None:
    """The padding-free forward for this backbone, or None when there is none."""
    found = _classes().get(backbone.config.model_type)
    return found(backbone) if found is not None and found.serves(backbone) else None
