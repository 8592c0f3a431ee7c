"""As `warm`, for studies with quantized backbones: bitsandbytes takes seconds to import.

Not where there is a GPU: its import starts CUDA, which a forked worker could not use any more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

import torch

if not torch.cuda.is_available():
    with contextlib.suppress(ImportError):  # the worker that needs it will say so
        importlib.import_module("bitsandbytes")
    gc.collect()
    gc.freeze()
