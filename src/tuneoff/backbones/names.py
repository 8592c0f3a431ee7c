"""Names that are needed without torch: the built-in backbones', kinds of backbone, heads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

BackboneKind = Literal["encoder", "decoder", "encoder_decoder"]
Head = Literal[
    "sequence_classification",
    "encoder_classification",
    "causal_lm",
    "question_answering",
    "seq2seq_lm",
]
CLASSIFIERS = ("sequence_classification", "encoder_classification")
"""Heads with one row of classes per text; the second on the encoder of an encoder-decoder alone."""
BUILTIN = Path(__file__).parent / "builtin"


def builtin_names() -> list[str]:
    """Short names of the backbones that the package brings: `mini-bert`, ..."""
    return sorted(path.name.removeprefix("tuneoff-") for path in BUILTIN.glob("tuneoff-*"))


def folder_of(model: str) -> Path | None:
    """The folder of a built-in name or of a local path; None for the name of a hub model."""
    if model in builtin_names():
        return BUILTIN / f"tuneoff-{model}"
    path = Path(model).expanduser()
    return path if path.is_dir() else None
