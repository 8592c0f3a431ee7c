"""Whether a checkpoint is whole and fits its configuration and its tokenizer.

transformers fills what a checkpoint lacks with random weights, and says so in a warning at most. Of
a new head that is right; a body of which a part is random is not the model that was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneoff.backbones.names import folder_of
from tuneoff.errors import BackboneError

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone

_INDEX = "model.safetensors.index.json"


def check_files(model: str) -> None:
    """Raises BackboneError for a folder whose weight files are cut short, or are not all there.

    The name of a hub model is not looked at: its files have a hash that the hub client checks.
    """
    folder = folder_of(model)
    if folder is None:
        return
    if (folder / "model.safetensors").exists():
        _header(folder / "model.safetensors")
    elif (folder / _INDEX).exists():
        _check_shards(folder)
    elif not any(folder.glob("pytorch_model*.bin")):
        there = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise BackboneError(
            f"backbone folder {folder} holds no weights (model.safetensors, {_INDEX} with its "
            f"shards, or pytorch_model.bin); it holds {there}. Copy them from where the folder is "
            "from"
        )


def _check_shards(folder: Path) -> None:
    try:
        places: dict[str, str] = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"{folder / _INDEX} is damaged ({error}); copy it anew from where the folder is from"
        ) from error
    shards = sorted(set(places.values()))
    if missing := [name for name in shards if not (folder / name).exists()]:
        raise BackboneError(
            f"backbone folder {folder}: {len(missing)} of {len(shards)} weight files that {_INDEX} "
            f"names are not there ({_some(missing)}); copy them from where the folder is from"
        )
    held = {name for shard in shards for name in _header(folder / shard)}
    if lost := sorted(places.keys() - held):
        raise BackboneError(
            f"backbone folder {folder}: {_INDEX} names tensors that no weight file holds "
            f"({_some(lost)}); take all files from one checkpoint"
        )


def _header(file: Path) -> Mapping[str, Any]:
    """Name -> shape and place of each tensor. Raises BackboneError for a file that is not whole."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        begin = stream.read(8)
        if begin.startswith(b"version "):
            raise BackboneError(
                f"{file} is a pointer of Git LFS, not the weights; run `git lfs pull` in its folder"
            )
        length = int.from_bytes(begin, "little")
        try:
            header = json.loads(stream.read(length)) if 8 + length <= size else None
            header = None if header is None else dict(header)
        except (ValueError, TypeError):
            header = None
    if header is None:
        raise BackboneError(
            f"{file} is damaged: {size:,} bytes that do not begin as a safetensors file does; copy "
            "it anew from where the folder is from"
        )
    header.pop("__metadata__", None)
    whole = 8 + length + max((one["data_offsets"][1] for one in header.values()), default=0)
    if size != whole:
        raise BackboneError(
            f"{file} is damaged: it has {size:,} bytes, and its own header says {whole:,}; copy it "
            "anew from where the folder is from"
        )
    return header


def check_body(
    shape: Backbone, missing: Iterable[str], unexpected: Iterable[str], model_type: str
) -> None:
    """Raises BackboneError where the body would be partly random, or partly left out.

    shape: the model as its configuration says; missing, unexpected: parameters that the checkpoint
    lacks or has too many, as transformers reports them. New are heads alone (of a language model
    not even those), and a pooler, which checkpoints of other tasks leave out.
    """
    if shape.pair:  # the half that writes has new cross-attention, and else what the other has
        missing = [name for name in missing if name.startswith("encoder.")]
    new = tuple(f"{site.name}." for site in shape.head_sites)
    extra = sorted(unexpected)
    lost = sorted(name for name in missing if not name.startswith(new) and "pooler" not in name)
    names = {name for name, _ in shape.model.named_parameters(remove_duplicate=False)}
    if lost:
        found = f"; it has others: {_some(extra)}" if extra else ""
        raise BackboneError(
            f"backbone {shape.options.model!r}: the checkpoint lacks {len(lost)} of the "
            f"{len(names)} tensors of a {model_type} as config.json describes it ({_some(lost)})"
            f"{found}. They would be random. It is cut short, or config.json is that of another "
            "model: take both from one checkpoint"
        )
    prefix = shape.base_prefix + "."
    known = names | {name.removeprefix(prefix) for name in names}
    beyond = [name for name in extra if _first_block(name) in known]
    if beyond:
        raise BackboneError(
            f"backbone {shape.options.model!r}: the checkpoint has blocks beyond the "
            f"{shape.blocks} of config.json ({_some(beyond)}), which would be left out; take both "
            "from one checkpoint"
        )


def _first_block(name: str) -> str | None:
    """The parameter's name in block 0; None for what stands in no block."""
    changed, count = re.subn(r"\.\d+\.", ".0.", name, count=1)
    return changed if count else None


def check_tokenizer(tokenizer: Any, shape: Backbone) -> None:
    """Raises BackboneError where the tokenizer gives ids that the model has no embedding for."""
    rows = shape.model.get_input_embeddings().weight.shape[0]
    token, largest = max(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    if largest >= rows:
        raise BackboneError(
            f"backbone {shape.options.model!r}: its tokenizer ({type(tokenizer).__name__}) knows "
            f"ids up to {largest} ({token!r}), and the model has embeddings for 0 to {rows - 1} "
            "alone; they are from different models. Take tokenizer.json and tokenizer_config.json "
            "from where the weights are from"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
