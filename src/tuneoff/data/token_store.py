"""Examples -> `Features`: in memory, or as .npy files that are written in pieces and mapped.

Files of an entry: tokens.npy (T,) int32, offsets.npy (n + 1,) int64, targets.npy (end to end),
target_offsets.npy for the form `sequence`, token_type.npy where a segment id is not zero,
extras.arrow where the task keeps any, facts.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tuneoff.tasks import Examples
from tuneoff.training.features import Features, Form


class Array:
    """A one-dimensional .npy file that grows; its length is put in the header at the end."""

    def __init__(self, path: Path, dtype: type[np.generic]):
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file = path.open("wb+")
        self._write_header()
        self._start = self._file.tell()

    def extend(self, values: np.ndarray) -> None:
        """Adds values at the end."""
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def close(self) -> None:
        """Writes the length; the file is whole from here on."""
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._start  # numpy leaves room for the length to grow
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.length,),
            },
        )


_NAMES = ("tokens", "offsets", "targets", "token_type", "target_offsets")


def write(examples: Iterable[Examples], folder: Path, form: Form = "example") -> None:
    """Writes the examples of a split, with memory for one piece at a time."""
    paths = {name: folder / f"{name}.npy" for name in _NAMES}
    tokens, offsets = Array(paths["tokens"], np.int32), Array(paths["offsets"], np.int64)
    targets, types = Array(paths["targets"], np.int64), Array(paths["token_type"], np.uint8)
    ends = Array(paths["target_offsets"], np.int64)
    extras = _Extras(folder / "extras.arrow")
    for array in (offsets, ends):
        array.extend(np.zeros(1, np.int64))
    truncated, segments = 0, False
    cut, left_out, noted = Counter[str](), Counter[str](), Counter[str]()
    for piece in examples:
        lengths = np.fromiter(map(len, piece.ids), np.int64, len(piece.ids))
        offsets.extend(tokens.length + np.cumsum(lengths))
        tokens.extend(flat(piece.ids, np.int32))
        if piece.target_lengths is not None:
            ends.extend(targets.length + np.cumsum(piece.target_lengths))
        targets.extend(np.asarray(piece.targets).reshape(-1))
        extras.extend(piece)
        kinds = _types(piece, int(lengths.sum()))
        segments = segments or bool(kinds.any())
        types.extend(kinds)
        truncated += piece.truncated
        cut.update(piece.cut)
        left_out += _left_out(piece)
        noted.update(piece.noted)
    for array in (tokens, offsets, targets, types, ends):
        array.close()
    extras.close()
    if not segments:
        paths["token_type"].unlink()
    if form != "sequence":
        paths["target_offsets"].unlink()
    facts = {
        "form": form,
        "truncated": truncated,
        "cut": dict(cut),
        "left_out": dict(left_out),
        "noted": dict(noted),
    }
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


def read(folder: Path, fingerprint: str) -> Features:
    """The features of an entry, memory-mapped."""
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    found = {
        name: _mapped(path) if (path := folder / f"{name}.npy").exists() else None
        for name in _NAMES
    }
    targets = found.pop("targets")
    return Features(
        **found,  # type: ignore[arg-type]
        targets=targets.reshape(-1, 2) if facts["form"] == "span" else targets,  # type: ignore[union-attr, arg-type]
        form=facts["form"],
        extras=_Extras.read(folder / "extras.arrow"),
        truncated=facts["truncated"],
        cut=facts["cut"],
        left_out=facts["left_out"],
        noted=facts["noted"],
        fingerprint=fingerprint,
    )


def in_memory(examples: Iterable[Examples], form: Form = "example") -> Features:
    """The features of a split that fits in memory."""
    import pyarrow as pa

    pieces = list(examples)
    ids = [one for piece in pieces for one in piece.ids]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tokens = flat(ids, np.int32)
    kinds = [_types(piece, sum(map(len, piece.ids))) for piece in pieces]
    types = np.concatenate(kinds) if kinds else np.empty(0, np.uint8)
    cut, left_out, noted = Counter[str](), Counter[str](), Counter[str]()
    for piece in pieces:
        cut.update(piece.cut)
        left_out += _left_out(piece)
        noted.update(piece.noted)
    return Features(
        tokens=tokens,
        offsets=offsets,
        targets=np.concatenate([piece.targets for piece in pieces])
        if pieces
        else np.empty(0, np.int64),
        form=form,
        target_offsets=np.concatenate(
            [[0], np.cumsum([length for piece in pieces for length in piece.target_lengths])]  # type: ignore[union-attr]
        ).astype(np.int64)
        if form == "sequence"
        else None,
        extras=pa.concat_tables([pa.table(dict(p.extras)) for p in pieces if p.extras and p.ids])
        if any(piece.extras and piece.ids for piece in pieces)
        else None,
        token_type=types if types.any() else None,
        truncated=sum(piece.truncated for piece in pieces),
        cut=dict(cut),
        left_out=dict(left_out),
        noted=dict(noted),
    )


class _Extras:
    """A table that grows piece by piece in an Arrow file; no file where nothing is kept."""

    def __init__(self, path: Path):
        self.path = path
        self._writer: Any = None

    def extend(self, piece: Examples) -> None:
        """Adds a piece's rows."""
        import pyarrow as pa

        if not piece.extras or not piece.ids:
            return
        table = pa.table(dict(piece.extras))
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), table.schema)
            self._schema = table.schema
        self._writer.write_table(table.cast(self._schema))

    def close(self) -> None:
        """The file is whole from here on."""
        if self._writer is not None:
            self._writer.close()

    @staticmethod
    def read(path: Path) -> Any:
        """The table, memory-mapped; None where there is none."""
        import pyarrow as pa

        if not path.exists():
            return None
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def flat(lists: Any, dtype: type[np.generic]) -> np.ndarray:
    """Lists of whole numbers, end to end."""
    if not lists:
        return np.empty(0, dtype)
    return np.concatenate([np.asarray(one, dtype) for one in lists])


def _left_out(piece: Examples) -> Counter[str]:
    return Counter(piece.left_out) + Counter(piece.bad.values())


def _types(piece: Examples, count: int) -> np.ndarray:
    return np.zeros(count, np.uint8) if piece.types is None else flat(piece.types, np.uint8)


def _mapped(path: Path) -> np.ndarray:
    # an empty file cannot be mapped
    array: np.ndarray = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None)
    return array
