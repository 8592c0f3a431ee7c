"""Facts of the data: what rows became, and what splits share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures_ledger import make_folder
from tests.report import folders
from tuneoff.report.contents import read_contents
from tuneoff.report.data_facts import data_facts


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("question_answering", "1,000 questions in 2,000 windows"),
        ("language_modelling", "1,000 texts in 2,000 blocks"),
    ],
)
def test_rows_and_what_they_became_are_told_apart(tmp_path: Path, task: str, words: str) -> None:
    def change(record: folders.Record) -> folders.Record:
        record["data"] |= {
            "rows": {"train": 1000, "validation": 200, "test": 600},
            "shared": [
                {"split": "test", "other": "train", "column": "context", "count": 7, "values": 3}
            ],
        }
        record["settings"]["task"] = {"task": task}
        return record

    make_folder(tmp_path, methods=["full"])
    (contest,) = read_contents(folders.rewrite(tmp_path, change)).contests
    facts = {fact.name: fact for fact in data_facts(contest)}
    assert facts["train rows"].text == words
    assert facts["test rows"].text == "600"  # one example each
    assert facts["shared contexts"].text == (
        "7 rows of test have a context (3 in all) that stands in train too"
    )
    assert facts["shared contexts"].warning
