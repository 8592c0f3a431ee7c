"""Content hashes: what files, settings and tokenizers are known by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def digest(*parts: Any) -> str:
    """32 hex digits of plain JSON data; equal data, equal digest, whatever the order of keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """32 hex digits of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class ColumnDigest:
    """Hash of a column's values, the same however it is cut into Arrow arrays."""

    def __init__(self) -> None:
        self._states = [hashlib.blake2b(digest_size=16) for _ in range(3)]

    def update(self, values: pa.Array) -> None:
        """Adds the next values."""
        import pyarrow as pa
        import pyarrow.compute as pc

        valid, sizes, content = self._states
        valid.update(pc.is_valid(values).to_numpy(zero_copy_only=False).tobytes())
        kind = values.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts = pc.fill_null(pc.cast(values, pa.large_string()), "")
            _, _, data = texts.buffers()
            offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
            sizes.update(np.diff(offsets).tobytes())
            if data is not None and len(offsets):
                content.update(data[offsets[0] : offsets[-1]])
        elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            numbers = pc.fill_null(pc.cast(values, pa.int64(), safe=False), 0)
            content.update(numbers.to_numpy().tobytes())
        else:
            for value in values.to_pylist():
                content.update(f"{json.dumps(value, sort_keys=True, default=str)}\n".encode())

    def value(self) -> str:
        """96 hex digits."""
        return "".join(state.hexdigest() for state in self._states)


def tokenizer_digest(tokenizer: Any) -> str:
    """32 hex digits of what decides a tokenizer's ids; truncation and padding state left out."""
    import tokenizers
    import transformers

    facts: dict[str, Any] = {
        "class": type(tokenizer).__name__,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "truncation_side": tokenizer.truncation_side,
        "versions": [tokenizers.__version__, transformers.__version__],
    }
    if tokenizer.is_fast:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        facts["state"] = {
            key: part for key, part in state.items() if key not in ("truncation", "padding")
        }
    else:
        facts["vocabulary"] = tokenizer.get_vocab()
    return digest(facts)
