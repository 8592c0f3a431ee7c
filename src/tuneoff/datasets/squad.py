"""SQuAD's own JSON: articles of paragraphs of questions, one row for each question.

data: {dataset: squad, train: train-v1.1.json, test: dev-v1.1.json}

Rows have the columns of the hub's `squad`: id, title, context, question, and answers
(`{text: [...], answer_start: [...]}`). A file is read as a whole; the official ones are small.
Source: Rajpurkar et al. 2016, https://rajpurkar.github.io/SQuAD-explorer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tuneoff.datasets._faults import Faults
from tuneoff.datasets._files import FileDataset
from tuneoff.datasets._text_files import open_text
from tuneoff.datasets.arrow_rows import BATCH_ROWS
from tuneoff.errors import DataError

_ANSWERS = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "title", "context", "question")]
    + [("answers", _ANSWERS)]
)


class Squad(FileDataset):
    """Files in the form of SQuAD v1.1 or v2.0; questions without an answer are bad rows."""

    format: ClassVar[str] = "SQuAD JSON"

    def read(self, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
        rows = list(_rows(path, _articles(path), faults))
        for at in range(0, max(len(rows), 1), BATCH_ROWS):
            yield pa.RecordBatch.from_pylist(rows[at : at + BATCH_ROWS], schema=_SCHEMA)


def _articles(path: Path) -> list[Any]:
    with open_text(path, "utf-8") as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {error.lineno}: no JSON: {error.msg}") from None
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        raise DataError(
            f"{path}: this is not SQuAD's JSON, {{version: ..., data: [articles]}}. A list of "
            "objects, one for each question, is read with `dataset: json`"
        )
    return articles


def _rows(path: Path, articles: list[Any], faults: Faults) -> Iterator[dict[str, Any]]:
    for number, article in enumerate(articles):
        try:
            yield from _questions(article)
        except (KeyError, TypeError, AttributeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            faults.add(f"{path} article {number}", f"not in SQuAD's form: {what}")


def _questions(article: Any) -> list[dict[str, Any]]:
    """The rows of an article: all of them, or an error."""
    return [
        {
            "id": str(one["id"]),
            "title": article.get("title"),
            "context": paragraph["context"],
            "question": one["question"],
            "answers": {
                "text": [answer["text"] for answer in one.get("answers", ())],
                "answer_start": [answer.get("answer_start") for answer in one.get("answers", ())],
            },
        }
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]
