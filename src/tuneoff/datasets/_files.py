"""What the file datasets share: files per split, read once into an Arrow file of the cache.

A row is parsed once; after that it is read from a memory map, so that data may be larger than
memory. The cache entry is named by the hash of the files' bytes and of how they are read.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tuneoff.data.cache import cached
from tuneoff.data.digest import digest, file_digest
from tuneoff.datasets import SPLITS, Dataset
from tuneoff.datasets._faults import Faults
from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError
from tuneoff.registry import nearest

_READER = 1  # raised when the same file would be read into other rows than before


class FileDataset(Dataset):
    """Files for each split; a name may hold `*`. In a study, relative paths start at its file."""

    train: Path | list[Path]
    """File, or files, of the rows to learn from."""
    validation: Path | list[Path] | None = None
    """File(s) of the rows to choose by; made from train when not given."""
    test: Path | list[Path] | None = None
    """File(s) of the rows to judge by; made from train when not given."""

    format: ClassVar[str]
    """The files' format in messages."""

    @abstractmethod
    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
        """The rows of one file in batches of one schema; bad rows go to `faults`."""

    @property
    def title(self) -> str:
        names = [path.name for path in _listed(self.train)]
        return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")

    def load(self) -> dict[str, ArrowRows]:
        return {split: self._rows(split, _found(paths)) for split, paths in self._given().items()}

    def fingerprint(self) -> str:
        return digest({split: self._key(_found(paths)) for split, paths in self._given().items()})

    def _given(self) -> dict[str, Path | list[Path]]:
        return {split: getattr(self, split) for split in SPLITS if getattr(self, split)}

    def _key(self, files: list[Path]) -> str:
        settings = self.model_dump(mode="json", exclude={*SPLITS, "drop_leaked"})
        return digest(_READER, self.format, settings, [_checked_digest(file) for file in files])

    def _rows(self, split: str, files: list[Path]) -> ArrowRows:
        entry = cached("rows", self._key(files), partial(self._write, files))
        facts = json.loads((entry / "facts.json").read_text("utf-8"))
        if sum(facts["rows"]) == 0:
            names = ", ".join(str(file) for file in files)
            dropped = f" ({facts['dropped']} bad rows were left out)" if facts["dropped"] else ""
            raise DataError(f"{names}: there are no rows for {split}{dropped}")
        table = pa.ipc.open_file(pa.memory_map(str(entry / "rows.arrow"))).read_all()
        starts = [sum(facts["rows"][:index]) for index in range(len(files))]
        return ArrowRows(
            table,
            classes=facts["classes"],
            origin=[(str(file), start) for file, start in zip(files, starts, strict=True)],
            left_out={"cannot be read": facts["dropped"]} if facts["dropped"] else {},
        )

    def _write(self, files: list[Path], folder: Path) -> None:
        faults = Faults(drop=self.on_bad_rows == "drop")
        sink = _Sink(folder / "rows.arrow")
        try:
            for file in files:
                sink.begin(file)
                for batch in self.read(file, faults):
                    sink.write(batch)
        finally:
            sink.close()
        faults.settle()
        facts = {"rows": sink.rows, "dropped": faults.count, "classes": sink.classes}
        (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


class _Sink:
    """An Arrow file that takes its schema from the first batch and holds the others to it."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[int] = []
        self.classes: dict[str, list[str]] = {}
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def begin(self, file: Path) -> None:
        self.file = file
        self.rows.append(0)

    def write(self, batch: pa.RecordBatch) -> None:
        if self._schema is None:
            self.classes = class_names(batch.schema)
            self._schema = batch.schema.remove_metadata()
            self._writer = pa.ipc.new_file(str(self.path), self._schema)
        self.rows[-1] += batch.num_rows
        self._writer.write_batch(self._fitted(batch))

    def close(self) -> None:
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), pa.schema([]))
        self._writer.close()

    def _fitted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self._schema is not None
        if batch.schema.equals(self._schema):
            return batch
        arrays = []
        for field in self._schema:
            if field.name not in batch.schema.names:
                raise DataError(
                    f"{self.file}: the column {field.name!r} of the split's first file is missing"
                    f"{nearest(field.name, batch.schema.names)}; all files of a split need the "
                    f"same columns. Here: {', '.join(batch.schema.names)}"
                )
            try:
                arrays.append(batch.column(field.name).cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"{self.file}, column {field.name!r}: {batch.schema.field(field.name).type} "
                    f"where the split's first file has {field.type} ({error})"
                ) from None
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Class names that the `datasets` library wrote into an Arrow or Parquet schema."""
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    features = json.loads(written).get("info", {}).get("features", {}) or {}
    return {
        name: list(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _listed(paths: Path | list[Path]) -> list[Path]:
    return [paths] if isinstance(paths, Path) else paths


def _found(paths: Path | list[Path]) -> list[Path]:
    """The files of a split, with `*` and `~` resolved.

    Raises DataError for one that is not there, with the nearest name in its folder.
    """
    files: list[Path] = []
    for path in (one.expanduser() for one in _listed(paths)):
        if path.is_file():
            files.append(path)
        elif matches := _matches(path):
            files += matches
        elif path.is_dir():
            raise DataError(
                f"{path} is a folder; name its files, e.g. `{path}/*.csv` "
                "(a folder that `save_to_disk` wrote is read with `dataset: disk`)"
            )
        else:
            there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            missing = "" if path.parent.is_dir() else f": the folder {path.parent} does not exist"
            raise DataError(f"there is no file {path}{missing}{nearest(path.name, there)}")
    return files


def _matches(pattern: Path) -> list[Path]:
    start = Path(pattern.anchor)
    if not any(letter in str(pattern) for letter in "*?["):
        return []
    return sorted(path for path in start.glob(str(pattern.relative_to(start))) if path.is_file())


def _checked_digest(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
