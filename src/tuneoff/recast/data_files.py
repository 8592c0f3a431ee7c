"""What data lies at a place: a folder with files per split, one file, or what `save_to_disk` wrote.

found("data/imdb")                   -> ("csv", {"train": data/imdb/train.csv, "test": ...})
found("data/squad")                  -> ("squad", {"train": data/squad/train-v1.1.json, ...})
found("train.jsonl,dev.jsonl")       -> ("jsonl", {"train": ..., "validation": ...})
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneoff import registry
from tuneoff.errors import DataError

_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet"}
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_OF_LIBRARY = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves


def found(place: str) -> tuple[str, dict[str, Any]]:
    """The dataset part that reads a place, and its settings.

    Raises DataError when there is no data, or more than one kind of it.
    """
    paths = [Path(part.strip()).expanduser().absolute() for part in place.split(",")]
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        if any((folder / name).is_file() for name in _OF_LIBRARY):
            return "disk", {"path": folder}
        return _of_files(_data_files(folder), str(folder))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"--data: there is no {missing[0]}; give a folder with train.csv (.tsv, .jsonl, "
            ".json, .parquet) and, if there are, validation and test, or the files themselves"
        )
    return _of_files(paths, place)


def _data_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    if not files:
        raise DataError(
            f"--data: {folder} holds no data: no file that ends in {', '.join(_ENDINGS)}"
        )
    named = [path for path in files if _split_of(path)]
    return named or files


def _of_files(files: Sequence[Path], place: str) -> tuple[str, dict[str, Any]]:
    parts = {_part(path) for path in files}
    if len(parts) > 1:
        raise DataError(
            f"--data: {place} holds data of several kinds ({', '.join(sorted(parts))}); name the "
            "files of one kind, separated by commas"
        )
    (part,) = parts
    if len(files) == 1:
        return part, {"train": files[0]}
    settings: dict[str, Any] = {}
    for path in files:
        split = _split_of(path)
        if split is None or split in settings:
            why = "says no split" if split is None else f"is a second file of {split}"
            raise DataError(
                f"--data: the name of {path} {why}; files are told apart by their names' "
                "beginnings: train, validation (or dev), test"
            )
        settings[split] = path
    if "train" not in settings:
        raise DataError(f"--data: {place} has no train file; it has {_listed(files)}")
    return part, settings


def _part(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise DataError(
            f"--data: {path} is of no kind that can be read; files end in {', '.join(_ENDINGS)}"
        )
    if ending == ".json" and _is_squad(path) and "squad" in registry.names("datasets"):
        return "squad"
    return _ENDINGS[ending]


def _is_squad(path: Path) -> bool:
    """SQuAD's files are one object with `data` (and `version`); ours are lists."""
    with path.open(encoding="utf-8") as file:
        return file.read(64).lstrip().startswith("{")


def _split_of(path: Path) -> str | None:
    stem = path.stem.lower()
    for split, words in _SPLITS.items():
        if any(
            stem == word or stem.startswith((f"{word}-", f"{word}_", f"{word}.")) for word in words
        ):
            return split
    return None


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(path.name for path in files)
