"""Answers in text beside their references: made ones, and real ones where the data lies beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tuneoff.metrics import Predicted

DATA = Path(__file__).parents[3] / "shared" / "data"
MADE = [
    ("The cat sat on the mat.", ["A cat sat on a mat.", "On the mat sat the cat!"]),
    ("", ["Nothing was said."]),
    ("42", ["42", "forty-two"]),
    ("She was running fast. He stopped!\nThey met.", ["She runs fast.\nHe stopped.\nThey meet."]),
    ("The U.S. economy grew 2.5 % in 2019, Mr. Smith said. It fell.", ["It grew in the U.S."]),
    ("!!!", ["the a an", "?"]),
    ("naïve café – “quoted” 東京", ["naive cafe “quoted” 東京 tower"]),
    ("word " * 60, ["word other " * 20]),
    ("{response} {input}", ["{output}"]),
]  # fmt: skip


def predicted(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Predicted:
    return Predicted(losses=np.ones(len(texts)), texts=texts, references=references)


def made() -> Predicted:
    """Odd ones: empty, punctuation alone, several references, sentences in one line and in two."""
    return predicted([text for text, _ in MADE], [many for _, many in MADE])


def summaries(count: int = 40) -> Predicted | None:
    """The first sentences of articles beside their summaries; None where there are no real ones."""
    path = DATA / "cnndm" / "validation.jsonl"
    if not path.exists():
        return None
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[:count]]
    texts = [". ".join(row["article"].split(". ")[:3]) + "." for row in rows]
    return predicted(texts, [[row["highlights"]] for row in rows])


def answers(count: int = 300) -> Predicted | None:
    """SQuAD's questions answered with a piece of the text around the right answer."""
    path = DATA / "squad" / "dev-v1.1.json"
    if not path.exists():
        return None
    random = np.random.default_rng(0)
    texts, references = [], []
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                first = question["answers"][0]
                start = max(0, first["answer_start"] - int(random.choice([0, 0, 4, 9])))
                end = first["answer_start"] + len(first["text"]) + int(random.choice([0, 0, 1, 8]))
                texts.append(paragraph["context"][start:end])
                references.append([answer["text"] for answer in question["answers"]])
    return predicted(texts[:count], references[:count])


def corpora() -> list[Predicted]:
    """All there are."""
    return [rows for rows in (made(), summaries(), answers()) if rows is not None]


def of_parts(metric, rows: Predicted, size: int) -> float:
    """The score from tables of `size` rows at a time."""
    places = [np.arange(at, min(at + size, len(rows))) for at in range(0, len(rows), size)]
    return metric.from_table(np.concatenate([metric.table(rows.take(one)) for one in places]))
