"""JSON objects -> Arrow columns of one type each, in two passes: find the types, then convert.

A column of whole numbers and fractions becomes fractions; one of mixed kinds becomes text, as
JSON writes it. A key that a row lacks is a missing value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from tuneoff.datasets._faults import Faults
from tuneoff.datasets.arrow_rows import BATCH_ROWS, LINE

_BATCH_CHARACTERS = 1 << 22


class Record(NamedTuple):
    """An object of a file, the line on which it begins, and its length in characters."""

    line: int
    value: dict[str, Any]
    characters: int


_SCALARS: list[tuple[set[type], pa.DataType]] = [
    ({str}, pa.string()),
    ({bool}, pa.bool_()),
    ({int}, pa.int64()),
    ({int, float}, pa.float64()),
]
Reader = Callable[[Faults], Iterator[Record]]


def object_batches(read: Reader, faults: Faults) -> Iterator[pa.RecordBatch]:
    """All records in batches of one schema; `read` is called twice."""
    types: dict[str, pa.DataType] = {}
    for records in _grouped(read(Faults(drop=True))):
        for name in dict.fromkeys(key for record in records for key in record.value):
            found = _type([record.value.get(name) for record in records])
            types[name] = _wider(types[name], found) if name in types else found
    types = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in types.items()}
    schema = pa.schema([*types.items(), (LINE, pa.int64())])
    for records in _grouped(read(faults)):
        columns = [
            _array([record.value.get(name) for record in records], kind)
            for name, kind in types.items()
        ]
        lines = pa.array([record.line for record in records], pa.int64())
        yield pa.RecordBatch.from_arrays([*columns, lines], schema=schema)


def _grouped(records: Iterator[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    characters = 0
    for record in records:
        group.append(record)
        characters += record.characters
        if len(group) == BATCH_ROWS or characters > _BATCH_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _type(values: list[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.null()
    if kinds == {int} and any(value is not None and abs(value) >> 63 for value in values):
        return pa.string()
    if kinds not in ({dict}, {list}):
        return next((kind for known, kind in _SCALARS if kinds <= known), pa.string())
    try:
        return pa.array(values).type
    except (pa.ArrowException, UnicodeError, OverflowError):
        return pa.string()  # of mixed kinds inside


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds values of both."""
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_boolean(one) or pa.types.is_boolean(other):
        return pa.string()
    try:
        fields = [pa.schema([("value", kind)]) for kind in (one, other)]
        return pa.unify_schemas(fields, promote_options="permissive").field("value").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_string(kind):
        return pa.array(values, kind)
    texts = [_text(value) for value in values]
    try:
        return pa.array(texts, kind)
    except UnicodeEncodeError:  # half of a surrogate pair, as cut tweets have it
        return pa.array([text and _mended(text) for text in texts], kind)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _mended(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
