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


def whole_path(model: str, folder: Path | None) -> str:
    """A model's folder as its whole path, a relative one from the study's `folder`; built-in names
    and names of hub models as they are.

    Raises ValueError where the model can only be a folder, and there is none.
    """
    if folder is None or model in builtin_names():
        return model
    path = folder / Path(model).expanduser()
    if path.is_dir():
        return str(path)
    if model.startswith((".", "~", "/")):
        raise ValueError(
            f"there is no folder {path}; give a folder in Hugging Face layout, a hub name, "
            f"or a built-in name: {', '.join(builtin_names())}"
        )
    return model
