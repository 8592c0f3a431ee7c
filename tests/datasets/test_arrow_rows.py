"""Rows over Arrow: like plain lists of dicts, however the table is cut into chunks."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff.datasets.arrow_rows import ArrowRows
from tuneoff.errors import DataError


def chunked(values, cuts, kind=None):
    ends = sorted({min(cut, len(values)) for cut in cuts} | {0, len(values)})
    parts = [values[a:b] for a, b in pairwise(ends)]
    return ArrowRows(pa.table({"n": pa.chunked_array(parts or [[]], kind or pa.int64())}))


@given(st.data())
def test_batches_and_selections_are_those_of_a_list(data):
    values = list(range(data.draw(st.integers(0, 40))))
    rows = chunked(values, data.draw(st.lists(st.integers(0, 40))))
    for _ in range(2):
        chosen = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
        values = [value for value, keep in zip(values, chosen, strict=True) if keep]
        rows = rows.select(np.flatnonzero(chosen))
    size = data.draw(st.integers(1, 9))
    batches = [batch["n"] for batch in rows.batches(size)]
    assert [value for batch in batches for value in batch] == values
    assert all(0 < len(batch) <= size for batch in batches)
    assert rows.column("n") == values
    assert list(rows) == [{"n": value} for value in values]
    assert len(rows) == len(values)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (pa.int64(), int),
        (pa.int8(), int),
        (pa.bool_(), lambda n: n % 3 == 0),
        (pa.float32(), float),
        (pa.string(), str),
        (pa.large_string(), str),
        (pa.list_(pa.string()), lambda n: [str(n)]),
        (pa.string(), lambda n: None if n % 2 else str(n)),
    ],
)
def test_the_fingerprint_is_of_values_not_of_chunks(kind, make):
    values = [make(n) for n in range(30)]
    prints = {chunked(values, cuts, kind).fingerprint() for cuts in ([], [3, 9], [15])}
    assert len(prints) == 1
    assert chunked([*values[1:], values[0]], [], kind).fingerprint() not in prints
    assert ArrowRows.of([{"m": value} for value in values]).fingerprint() not in prints


def test_the_fingerprint_tells_values_apart():
    texts = [["ab", "c"], ["a", "bc"], ["ab", None], ["ab", ""], ["ab", "c", ""]]
    prints = {ArrowRows.of([{"t": text} for text in row]).fingerprint() for row in texts}
    nested = {ArrowRows.of([{"t": [row]}]).fingerprint() for row in (["a"], ["b"])}
    assert len(prints | nested) == len(texts) + 2


def test_selected_rows_have_the_fingerprint_of_the_same_rows():
    whole = ArrowRows.of([{"t": str(n)} for n in range(9)])
    part = ArrowRows.of([{"t": str(n)} for n in (2, 3, 7)])
    assert whole.select(np.array([2, 3, 7])).fingerprint() == part.fingerprint()


def test_columns_under_new_names():
    rows = ArrowRows.of(
        [{"title": " A", "content": "b c", "stars": 1}, {"title": None, "content": "d", "stars": 2}]
    )
    mapped = rows.renamed({"text": ["title", "content"], "label": "stars"})
    assert mapped.column("text") == ["A b c", "d"]
    assert mapped.column("label") == [1, 2]
    swapped = rows.renamed({"title": "content", "content": "title"})
    assert (swapped.column("title"), swapped.column("content")) == (["b c", "d"], [" A", None])
    with pytest.raises(DataError, match=r"no column 'contents'; did you mean 'content'"):
        rows.renamed({"text": ["title", "contents"]})


def test_selections_must_ascend():
    rows = ArrowRows.of([{"n": n} for n in range(3)])
    for bad in ([1, 0], [1, 1], [-1]):
        with pytest.raises(ValueError, match="ascend"):
            rows.select(np.array(bad))
    with pytest.raises(IndexError):
        rows.select(np.array([3]))


def test_codes_without_a_name_are_explained():
    rows = ArrowRows(pa.table({"label": [0, 5]}), classes={"label": ["no", "yes"]})
    with pytest.raises(DataError, match="a code has no name"):
        rows.column("label")
