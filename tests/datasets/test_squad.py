"""SQuAD's JSON becomes the hub's rows."""

import json

import pytest

from tests.data.tokenizers import SHARED
from tuneoff.datasets.squad import Squad
from tuneoff.errors import DataError

ARTICLE = {
    "title": "Film",
    "paragraphs": [
        {
            "context": "It was good.",
            "qas": [
                {
                    "id": "a",
                    "question": "How was it?",
                    "answers": [{"text": "good", "answer_start": 7}],
                },
                {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
            ],
        }
    ],
}


def written(tmp_path, content):
    path = tmp_path / "train.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def test_rows_have_the_hubs_form(tmp_path):
    path = written(tmp_path, {"version": "1.1", "data": [ARTICLE]})
    rows = Squad(train=path).load()["train"]
    assert list(rows) == [
        {
            "id": "a",
            "title": "Film",
            "context": "It was good.",
            "question": "How was it?",
            "answers": {"text": ["good"], "answer_start": [7]},
        },
        {
            "id": "b",
            "title": "Film",
            "context": "It was good.",
            "question": "Why?",
            "answers": {"text": [], "answer_start": []},
        },
    ]
    assert rows.where(1) == f"{path} row 1"


def test_other_json_is_refused(tmp_path):
    with pytest.raises(DataError, match="not SQuAD's JSON"):
        Squad(train=written(tmp_path, [{"question": "?"}])).load()
    with pytest.raises(DataError, match=r"line 1: no JSON"):
        Squad(train=written(tmp_path, "{")).load()


def test_a_broken_article_is_refused_or_left_out(tmp_path):
    path = written(tmp_path, {"data": [ARTICLE, {"title": "no paragraphs"}]})
    with pytest.raises(DataError, match="article 1: not in SQuAD's form: it has no 'paragraphs'"):
        Squad(train=path).load()
    rows = Squad(train=path, on_bad_rows="drop").load()["train"]
    assert (len(rows), rows.left_out) == (2, {"cannot be read": 1})


def test_the_real_file_is_read_whole():
    path = SHARED / "squad" / "dev-v1.1.json"
    if not path.exists():
        pytest.skip("no shared data")
    rows = Squad(train=path).load()["train"]
    articles = json.loads(path.read_text("utf-8"))["data"]
    questions = [one for a in articles for p in a["paragraphs"] for one in p["qas"]]
    assert rows.column("id") == [one["id"] for one in questions]
    assert rows.column("answers")[7]["text"] == [a["text"] for a in questions[7]["answers"]]
