"""`tuneoff init`: what it sees in a file, and the study that it writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_cli import command
from tuneoff.errors import DataError
from tuneoff.init import look, name_of
from tuneoff.init_answers import answered_findings, look_for_answers
from tuneoff.init_study import answered_study, findings, study_text, warnings
from tuneoff.study import load_study

SHARED = Path(__file__).parents[2] / "shared" / "data"


def write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def reviews(path: Path, count: int = 300) -> Path:
    rows = [
        [index, f"a review of thing {index} that is long enough", "ab"[index % 2]]
        for index in range(count)
    ]
    return write_csv(path, ["id", "review", "verdict"], rows)


def test_columns_are_guessed(tmp_path: Path) -> None:
    found = look(reviews(tmp_path / "reviews.csv"))
    assert (found.text, found.label, found.pair) == (("review",), "verdict", False)
    assert found.classes == {"a": 150, "b": 150}
    assert found.others == ("id",)
    assert found.rows == 300
    assert not warnings(found)


def test_a_column_that_is_called_label_wins(tmp_path: Path) -> None:
    rows = [[f"some text {i}", i % 2, i % 3] for i in range(300)]
    found = look(write_csv(tmp_path / "x.csv", ["text", "fold", "label"], rows))
    assert found.label == "label"
    assert look(tmp_path / "x.csv", label="fold").label == "fold"


def test_pairs_of_texts(tmp_path: Path) -> None:
    rows = [[f"is it {i}", f"was it {i}", i % 2] for i in range(300)]
    found = look(write_csv(tmp_path / "q.csv", ["question1", "question2", "same"], rows))
    assert (found.text, found.pair) == (("question1", "question2"), True)
    text = study_text(found, "mini-bert", tmp_path)
    assert "columns: {text: question1, text_pair: question2, label: same}" in text


def test_warnings(tmp_path: Path) -> None:
    rows = [["same text", "a"], ["same text", "b"], ["", "a"]]
    rows += [[f"text {index}", "a"] for index in range(60)] + [["rare", "c"]]
    found = look(write_csv(tmp_path / "x.csv", ["text", "label"], rows))
    said = "\n".join(warnings(found))
    assert "61 times" in said
    assert "2 classes have fewer than 10 rows" in said
    assert "1 rows repeat a text" in said
    assert "1 texts stand with different labels" in said
    assert "1 rows have no text or no label" in said
    assert "few rows" in said
    written = yaml.safe_load(study_text(found, "mini-bert", tmp_path))
    assert written["tasks"][0]["metric"] == "macro_f1"
    assert written["tasks"][0]["data"]["on_bad_rows"] == "drop"


@pytest.mark.parametrize("ending", ["json", "jsonl", "tsv", "parquet"])
def test_other_formats(tmp_path: Path, ending: str) -> None:
    rows = [{"text": f"some text {i}", "label": i % 2} for i in range(300)]
    path = tmp_path / f"x.{ending}"
    if ending == "json":
        path.write_text(json.dumps(rows))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "tsv":
        path.write_text("text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    found = look(path)
    assert (found.text, found.label, found.dataset) == (("text",), "label", ending)
    assert found.classes == {"0": 150, "1": 150}


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("a,b\n1,2\n", "x.xlsx", "cannot tell the format"),
        ("text\nhello\nyou\n", "x.csv", "no column looks like a label"),
        (None, "absent.csv", "there is no file"),
        ("text,label\na,1\n,2\n", "x.csv", ""),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, content: str | None, name: str, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    if words:
        with pytest.raises(DataError, match=words):
            look(path)
    else:
        assert findings(look(path))


def test_the_written_study_is_valid_and_relative(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        reviews(tmp_path / f"{split}.csv", 240)
    done = command("init", "train.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 classes: a 120, b 120" in done.stdout
    assert "wrote study.yaml" in done.stderr
    text = (tmp_path / "study.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=study.schema.json\n")
    json.loads((tmp_path / "study.schema.json").read_text())
    study = load_study(tmp_path / "study.yaml")
    source: Any = study.tasks[0].data.source
    assert source.validation == tmp_path / "dev.csv"
    assert study.tasks[0].data.columns == {"text": "review", "label": "verdict"}
    assert str(tmp_path) not in text
    again = command("init", "train.csv", folder=tmp_path)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert command("init", "train.csv", "--force", folder=tmp_path).returncode == 0


def answered(folder: Path, rows: list[dict[str, Any]], model: str = "mini-bert") -> Any:
    """The task of the study that is written for rows; None for rows that have a label."""
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look_for_answers(path)
    if found is None:
        return None
    assert answered_findings(found)
    (folder / "study.yaml").write_text(answered_study(found, model, folder))
    load_study(folder / "study.yaml")
    task: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text())["tasks"][0]
    return task


def test_tasks_that_answer_in_text_are_known_by_their_columns(tmp_path: Path) -> None:
    long = "a word and another one " * 12
    asked = {"question": "what?", "context": long, "answer": "another", "answer_start": 11}
    task = answered(tmp_path, [asked] * 300)
    assert (task["task"], task["metric"]) == ("question_answering", "exact_match")
    assert task["max_length"] == 128  # 280 characters are some 75 tokens
    assert "columns" not in task["data"]
    task = answered(tmp_path, [{"document": long, "summary": "words", "id": 7}] * 300)
    assert (task["task"], task["metric"]) == ("summarization", "rougeL")
    assert task["data"]["columns"] == {"text": "document"}
    assert (task["max_input_length"], task["max_output_length"]) == (128, 16)
    told = {"Instruction": "say it", "input": None, "response": "it", "category": "x"}
    task = answered(tmp_path, [told] * 300)
    assert (task["task"], task["metric"]) == ("instruction", "perplexity")
    assert task["data"]["columns"] == {"instruction": "Instruction", "output": "response"}
    starred = {"text": long, "summary": "words", "stars": 1}
    assert answered(tmp_path, [starred] * 300) is None  # negative control: it has labels
    task = answered(tmp_path, [told, told | {"response": ""}] * 150)
    assert task["data"]["on_bad_rows"] == "drop"


def test_squads_own_json_and_the_room_of_a_model(tmp_path: Path) -> None:
    from tests.backbones.tiny import save

    save("gpt2", tmp_path / "gpt2", "causal_lm")
    context = "a word and another one " * 12
    qas = [{"id": str(i), "question": "what?", "answers": [{"text": "another", "answer_start": 11}]}
           for i in range(300)]  # fmt: skip
    data = {"version": "1.1", "data": [{"paragraphs": [{"context": context, "qas": qas}]}]}
    for name in ("train-v1.json", "dev-v1.json"):
        (tmp_path / name).write_text(json.dumps(data))
    done = command("init", "train-v1.json", "--model", "gpt2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "question_answering" in done.stdout
    (task,) = yaml.safe_load((tmp_path / "study.yaml").read_text())["tasks"]
    assert task["data"]["dataset"] == "squad"
    assert task["data"]["validation"] == "dev-v1.json"
    assert task["max_length"] == 64  # all that this GPT-2 reads
    task = answered(
        tmp_path, [{"document": context, "summary": "it"}] * 300, str(tmp_path / "gpt2")
    )
    assert task["max_input_length"] + task["max_output_length"] - 1 <= 64


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data is not here")
@pytest.mark.parametrize(
    ("path", "task", "columns"),
    [
        ("squad/train-v1.1.json", "question_answering", ["question", "context", "answers"]),
        ("xsum/train.jsonl", "summarization", ["document", "summary"]),
        ("cnndm/train.jsonl", "summarization", ["article", "highlights"]),
        ("alpaca/alpaca.json", "instruction", ["instruction", "output", "input"]),
        ("quora/train.csv", None, []),
    ],
)
def test_real_files_that_are_answered_in_text(
    path: str, task: str | None, columns: list[str]
) -> None:
    found = look_for_answers(SHARED / path)
    assert (found.task if found else None) == task
    assert found is None or list(found.columns.values()) == columns


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared data is not here")
@pytest.mark.parametrize(
    ("path", "text", "label", "classes"),
    [
        ("sst5/train.csv", ("text",), "label", 5),
        ("quora/train.csv", ("question1", "question2"), "is_duplicate", 2),
        ("amazon/train.csv", ("content",), "label", 2),
        ("cfimdb/train.csv", ("text",), "label", 2),
    ],
)
def test_real_files(path: str, text: tuple[str, ...], label: str, classes: int) -> None:
    found = look(SHARED / path)
    assert (found.text, found.label, len(found.classes)) == (text, label, classes)


def test_tasks_that_write_texts_get_the_decoder_that_is_built_in(tmp_path):
    rows = [{"instruction": f"Name colour {i}", "output": f"blue {i} it is"} for i in range(60)]
    (tmp_path / "asked.json").write_text(json.dumps(rows))
    assert command("init", "asked.json", folder=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["backbones"] == ["mini-gpt2"]
    (tmp_path / "rated.csv").write_text("text,label\n" + "so good,1\nso bad,0\n" * 30)
    assert command("init", "rated.csv", "--force", folder=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["backbones"] == ["mini-bert"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("reviews/train.csv", "reviews"),
        ("squad/train-v1.1.json", "squad"),
        ("news/Data.tsv", "news"),
        ("data/reviews.csv", "reviews"),
        ("data/trainers.csv", "trainers"),  # shoes
    ],
)
def test_a_study_is_named_after_its_file_or_folder(file: str, name: str) -> None:
    assert name_of(Path(file)) == name
