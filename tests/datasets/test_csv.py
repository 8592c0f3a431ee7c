"""CSV and TSV: read as pandas reads them, and each way to be malformed explained."""

import csv
import gzip
import random

import pytest
from pydantic import ValidationError

from tuneoff import registry
from tuneoff.datasets.csv import Csv
from tuneoff.datasets.tsv import Tsv
from tuneoff.errors import DataError


def write(folder, content, name="train.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def rows(path, kind=Csv, **settings):
    return list(kind(train=path, **settings).load()["train"])


def refusal(path, kind=Csv, **settings):
    with pytest.raises(DataError) as caught:
        kind(train=path, **settings).load()
    message = str(caught.value)
    assert path.name in message
    return message


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_values_as_pandas(tmp_path, kind, seed):
    import pandas

    rng = random.Random(seed)
    letters = "ab ,;\t\"\n\r'|é日😀\u2028NA"
    table = [
        ["".join(rng.choices(letters, k=rng.randrange(1, 12))) for _ in range(3)]
        for _ in range(300)
    ]
    path = tmp_path / "train.txt"
    delimiter = "," if kind == "csv" else "\t"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerows([["text", "other", "label"], *table])
    ours = rows(path, registry.get("datasets", kind))
    theirs = pandas.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False)
    assert ours == theirs.to_dict("records")
    assert [list(row.values()) for row in ours] == table


def test_values_are_the_text_of_the_file(tmp_path):
    path = write(tmp_path, "text,label\nNA,007\nnull,1.0\n nan ,True\n")
    assert rows(path) == [
        {"text": "NA", "label": "007"},
        {"text": "null", "label": "1.0"},
        {"text": " nan ", "label": "True"},
    ]


def test_an_empty_field_is_a_missing_value(tmp_path):
    assert rows(write(tmp_path, 'a,b\n1,\n,""\n'))[1] == {"a": None, "b": None}


def test_blank_lines_and_a_missing_last_line_end(tmp_path):
    assert len(rows(write(tmp_path, "a,b\n1,2\n\n3,4"))) == 2


@pytest.mark.parametrize(
    ("encoding", "settings"),
    [
        ("utf-8", {}),
        ("utf-8-sig", {}),
        ("cp1252", {"encoding": "cp1252"}),
        ("utf-16", {"encoding": "utf-16"}),
    ],
)
def test_encodings_and_byte_order_marks(tmp_path, encoding, settings):
    path = write(tmp_path, "text,label\ncafé,1\n", encoding=encoding)
    assert rows(path, **settings) == [{"text": "café", "label": "1"}]


def test_gzip(tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\nfine,1\n"))
    assert rows(path) == [{"text": "fine", "label": "1"}]
    path.write_bytes(path.read_bytes()[:20])
    assert "gzip" in refusal(path)


def test_delimiters_headers_and_plain_quotes(tmp_path):
    assert rows(write(tmp_path, "a;b\n1;2\n"), delimiter=";") == [{"a": "1", "b": "2"}]
    assert rows(write(tmp_path, "1,2\n3,4\n"), header=["a", "b"])[0] == {"a": "1", "b": "2"}
    path = write(tmp_path, 'text\tlabel\n"Oh\t1\n', "train.tsv")
    assert rows(path, Tsv, quotes=False) == [{"text": '"Oh', "label": "1"}]
    assert "quotes: false" in refusal(path, Tsv)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["empty", "column names"]),
        ("text,label\n", ["no rows"]),
        ("text;label\na;1\n", ["line 1", "semicolon", 'delimiter: ";"']),
        ("text\tlabel\na\t1\n", ["line 1", "tab", 'delimiter: "\\t"']),
        ("text,text\na,1\n", ["line 1", "two columns", "'text'"]),
        ('text,label\n"a"b,1\n', ["line 2", "quotes"]),
        ('text,label\na,1\n"b,1\nc,1\n', ["lines 3 to 4", "quotes"]),
        ("text,label\na,1\nb,c,1\n", ["line 3", "3 fields", "(text, label)", "on_bad_rows: drop"]),
        ("text,label\na\n\nb,1\n", ["line 2", "1 field ", "missing"]),
        ('text,label\n"a\nb",1\nc,d,e\n', ["line 4", "3 fields"]),
        (b"text,label\nfine,1\ncaf\xe9,1\n", ["line 3", "0xe9", "utf-8", "encoding: cp1252"]),
        ("text,label\na,1\n".encode("utf-16"), ["utf-16", "encoding: utf-16"]),
    ],
)  # fmt: skip
def test_malformed_files_are_explained(tmp_path, content, expected):
    message = refusal(write(tmp_path, content))
    for part in expected:
        assert part in message


def test_bad_rows_are_counted_and_dropped_when_so_set(tmp_path):
    lines = ["text,label", *(f"fine,{i}" if i % 3 else f"ragged,{i},x" for i in range(30))]
    path = write(tmp_path, "\n".join(lines))
    message = refusal(path)
    assert "10 bad rows" in message
    assert message.count("3 fields") == 5
    assert "and 5 more" in message
    kept = Csv(train=path, on_bad_rows="drop").load()["train"]
    assert len(kept) == 20
    assert kept.left_out == {"cannot be read": 10}
    assert Csv(train=path, on_bad_rows="drop").load()["train"].left_out == {"cannot be read": 10}


def test_rows_know_their_line(tmp_path):
    train = Csv(train=write(tmp_path, 'a\n1\n"2\n2"\n\n3\n')).load()["train"]
    assert [train.where(row).split()[-1] for row in range(3)] == ["2", "3", "6"]


def test_missing_files_and_settings(tmp_path):
    write(tmp_path, "a\n1\n", "train.csv")
    with pytest.raises(DataError, match=r"no file .*trian\.csv.*did you mean 'train\.csv'"):
        Csv(train=tmp_path / "trian.csv").load()
    with pytest.raises(DataError, match=r"folder .* does not exist"):
        Csv(train=tmp_path / "nowhere" / "a.csv").load()
    with pytest.raises(DataError, match="is a folder"):
        Csv(train=tmp_path).load()
    with pytest.raises(ValidationError, match="utf-9"):
        Csv(train=tmp_path / "train.csv", encoding="utf-9")
    with pytest.raises(ValidationError, match="delimeter"):
        Csv(train=tmp_path / "train.csv", delimeter=";")


def test_several_files_and_patterns(tmp_path):
    for name in ("b", "a"):
        write(tmp_path, f"text,label\n{name},1\n", f"part-{name}.csv")
    pattern = Csv(train=tmp_path / "part-*.csv").load()["train"]
    assert [row["text"] for row in pattern] == ["a", "b"]
    assert pattern.where(1).endswith("part-b.csv line 2")
    listed = Csv(train=[tmp_path / "part-b.csv", tmp_path / "part-a.csv"]).load()["train"]
    assert [row["text"] for row in listed] == ["b", "a"]
    write(tmp_path, "text,lable\nc,1\n", "part-c.csv")
    with pytest.raises(DataError, match=r"part-c\.csv.*'label'.*did you mean 'lable'"):
        Csv(train=tmp_path / "part-*.csv").load()


def test_the_fingerprint_is_of_the_content(tmp_path):
    one = write(tmp_path, "a\n1\n", "one.csv")
    two = write(tmp_path, "a\n1\n", "two.csv")
    assert Csv(train=one).fingerprint() == Csv(train=two).fingerprint()
    other = write(tmp_path, "a\n2\n", "other.csv")
    assert Csv(train=one).fingerprint() != Csv(train=other).fingerprint()
    assert Csv(train=one).fingerprint() != Csv(train=one, test=two).fingerprint()


def test_a_file_is_parsed_once(tmp_path, monkeypatch):
    path = write(tmp_path, "a\n1\n")
    first = rows(path)
    monkeypatch.setattr(Csv, "read", lambda *_: pytest.fail("parsed again"))
    assert rows(path) == first
    path.write_text("a\n2\n")
    with pytest.raises(pytest.fail.Exception):
        rows(path)
