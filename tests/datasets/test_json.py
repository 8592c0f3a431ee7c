"""JSON and JSON Lines: the values that Python's json module reads, piece by piece."""

import json
import random

import pytest

from tuneoff.datasets import json as json_dataset
from tuneoff.datasets.json import Json
from tuneoff.datasets.jsonl import Jsonl
from tuneoff.errors import DataError


def write(folder, content, kind):
    path = folder / ("train.json" if kind is Json else "train.jsonl")
    if isinstance(content, list):
        lines = [
            json.dumps(row, ensure_ascii=False, indent=1 if kind is Json else None)
            for row in content
        ]
        content = "[" + ",\n".join(lines) + "]\n" if kind is Json else "\n".join(lines)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path, kind, **settings):
    return kind(train=path, **settings).load()["train"]


def refusal(path, kind):
    with pytest.raises(DataError) as caught:
        load(path, kind)
    assert path.name in str(caught.value)
    return str(caught.value)


BOTH = pytest.mark.parametrize("kind", [Json, Jsonl])


@BOTH
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_the_same_values_as_pythons_json(tmp_path, kind, piece, monkeypatch):
    monkeypatch.setattr(json_dataset, "_PIECE", piece)
    rng = random.Random(piece)
    expected = [
        {
            "text": "".join(rng.choices('ab"\\\n{}[],é😀\u2028', k=rng.randrange(30))),
            "long": "x" * rng.randrange(300),
            "label": rng.randrange(-5, 5),
            "score": rng.random(),
            "flag": rng.random() < 0.5,
            "answers": {"text": ["a"] * rng.randrange(3), "start": rng.randrange(9)},
        }
        for _ in range(40)
    ]
    assert list(load(write(tmp_path, expected, kind), kind)) == expected


@BOTH
def test_columns_of_mixed_kinds(tmp_path, kind):
    content = [
        {"a": 1, "b": 1, "c": "x"},
        {"a": 2.5, "b": "one", "d": [1]},
        {"a": None, "b": True, "d": 2},
    ]
    assert list(load(write(tmp_path, content, kind), kind)) == [
        {"a": 1.0, "b": "1", "c": "x", "d": None},
        {"a": 2.5, "b": "one", "c": None, "d": "[1]"},
        {"a": None, "b": "true", "c": None, "d": "2"},
    ]


@BOTH
def test_kinds_that_change_late_in_the_file(tmp_path, kind):
    content = [{"label": i} for i in range(9000)] + [{"label": "many", "text": "late"}]
    train = load(write(tmp_path, content, kind), kind)
    assert train.column("label") == [*map(str, range(9000)), "many"]
    assert train.column("text")[-2:] == [None, "late"]


@BOTH
def test_half_a_surrogate_pair_and_huge_numbers(tmp_path, kind):
    row = '{"text": "cut \\ud83d", "n": 123456789012345678901234567890, "more": ["\\ud83d"]}'
    content = f"[{row}]" if kind is Json else row
    (found,) = load(write(tmp_path, content, kind), kind)
    assert found["text"] == "cut \ufffd"
    assert found["n"] == "123456789012345678901234567890"


@BOTH
def test_a_byte_order_mark_is_fine(tmp_path, kind):
    content = b"\xef\xbb\xbf" + (b'[{"a": 1}]' if kind is Json else b'{"a": 1}')
    assert list(load(write(tmp_path, content, kind), kind)) == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["empty"]),
        ("[]", ["no rows"]),
        ('{"a": 1}\n{"a": 2}', ["line 1", "dataset: jsonl"]),
        ('[\n{"a": 1},\n{"a" 2}]', ["line 3", "no JSON"]),
        ('[{"a": 1}\n{"a": 2}]', ["line 2", "comma"]),
        ('[{"a": 1},\n{"a": 2}', ["line 2", "cut short"]),
        ('[{"a": 1},\n{"a": "2', ["line 2", "no JSON"]),
        ('[{"a": 1}]\n x', ["line 2", "after the end"]),
        ('[{"a": 1},\n3]', ["line 2", "int", "not an object"]),
    ],
)  # fmt: skip
def test_malformed_json_is_explained(tmp_path, content, expected):
    message = refusal(write(tmp_path, content, Json), Json)
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["no rows"]),
        ('[{"a": 1}]', ["line 1", "dataset: json`"]),
        ('{"a": 1}\n\n{"a": 2,}\n', ["line 3", "no JSON", "column"]),
        ('{"a": 1}\n[1]\n', ["line 2", "list", "not an object"]),
        (b'{"a": 1}\n{"a": "\xe9"}\n', ["line 2", "0xe9", "cp1252"]),
    ],
)  # fmt: skip
def test_malformed_json_lines_are_explained(tmp_path, content, expected):
    message = refusal(write(tmp_path, content, Jsonl), Jsonl)
    for part in expected:
        assert part in message


def test_bad_lines_are_counted_and_dropped_when_so_set(tmp_path):
    path = write(tmp_path, '{"a": 1}\nnonsense\n{"a": 2}\n', Jsonl)
    train = load(path, Jsonl, on_bad_rows="drop")
    assert [row["a"] for row in train] == [1, 2]
    assert train.left_out == {"cannot be read": 1}
    assert train.where(1).endswith("train.jsonl line 3")


def test_rows_of_a_json_list_know_their_line(tmp_path):
    train = load(write(tmp_path, '[\n {"a": 1},\n {"a":\n  2}, {"a": 3}\n]', Json), Json)
    assert [train.where(row).split()[-1] for row in range(3)] == ["2", "3", "4"]
