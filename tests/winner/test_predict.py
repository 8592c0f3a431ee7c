"""`tuneoff predict` on files of every format."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.winner.study_folder import CLASSES, run_study
from tuneoff.errors import BackboneError, DataError
from tuneoff.ledger import Ledger
from tuneoff.winner import export, new_rows
from tuneoff.winner.choice import choose
from tuneoff.winner.predict import predict


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return run_study(tmp_path_factory.mktemp("study"), ["lora"], architecture="distilbert")


@pytest.fixture(scope="module")
def winner(study):
    """Saved without its check, which other tests are about."""
    run = export._run_of(choose(study)[0])
    export._save(study, run, study / "saved", None, "cpu")
    return study / "saved"


@pytest.fixture(scope="module")
def rows(study):
    with (study.parent / "test.csv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def write(path, rows):
    """The rows in the format of the path's ending; labels are not needed."""
    rows = [{"id": row["id"], "review": row["review"]} for row in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            # the study's own CSV has semicolons, and new ones are read like it
            mark = "\t" if path.suffix == ".tsv" else ";"
            writer = csv.DictWriter(file, ["id", "review"], delimiter=mark)
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_predictions_are_those_of_the_ledger(study, winner, rows, ending, tmp_path):
    output = tmp_path / f"predicted.{ending}"
    done = predict(winner, write(tmp_path / f"new.{ending}", rows), output, keep=["id"])
    assert done.rows == len(rows)
    found = read(output)
    ledger = Ledger(study)
    columns = ledger.predictions(ledger.records()[0]["run_id"], "test")
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["prediction"] for row in found] == [CLASSES[i] for i in columns["prediction"]]
    probabilities = [[float(row[f"probability_{name}"]) for name in CLASSES] for row in found]
    np.testing.assert_allclose(probabilities, columns["probabilities"], atol=2e-6)
    assert np.std(probabilities, axis=0).min() > 1e-3
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_batch_size_and_the_neighbours_change_nothing(winner, rows, tmp_path, monkeypatch):
    path = write(tmp_path / "new.csv", rows)
    found = {}
    for size in (1, 16):
        predict(winner, path, tmp_path / f"{size}.csv", batch_size=size)
        found[size] = read(tmp_path / f"{size}.csv")
    monkeypatch.setattr("tuneoff.datasets._delimited.BATCH_ROWS", 4)  # a file larger than memory
    predict(winner, path, tmp_path / "4.csv")
    found[4] = read(tmp_path / "4.csv")
    for other in (found[16], found[4]):
        for one, row in zip(found[1], other, strict=True):
            assert one["prediction"] == row["prediction"]
            for name in CLASSES:
                key = f"probability_{name}"
                assert abs(float(one[key]) - float(row[key])) < 3e-6


def test_rows_stream_to_stdout(winner, rows, tmp_path, capsys):
    path = write(tmp_path / "new.jsonl", rows[:3])
    predict(winner, path)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(lines[0]) == ["prediction", *(f"probability_{name}" for name in CLASSES)]
    assert len(lines) == 3
    predict(winner, path, stream_format="jsonl")
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["prediction"] for one in objects] == [one["prediction"] for one in lines]


def test_the_merged_model_and_the_tasks_own_column_names_work_too(winner, rows, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"text": row["review"]}) + "\n" for row in rows))
    predict(winner, path, tmp_path / "a.jsonl")
    predict(winner / "merged", path, tmp_path / "b.jsonl")
    for one, other in zip(read(tmp_path / "a.jsonl"), read(tmp_path / "b.jsonl"), strict=True):
        assert one["prediction"] == other["prediction"]
        assert one["probability_bad"] == pytest.approx(other["probability_bad"], abs=3e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id;reviews\n1;w10 w11\n", r"no column 'review'; did you mean 'reviews'"),
        ("a.csv", "id;review\n1;w10\n2;\n", r"a.csv line 3: the text is empty"),
        ("a.jsonl", '{"review": "w10"}\n{"review": "  "}\n', r"a.jsonl line 2: the text is empty"),
        ("a.csv", "id;review\n", "no rows"),
        ("a.csv", "id;review\n1;2;3\n", "line 2"),
        ("a.xlsx", "x", "rows are read from"),
        ("a.csv", None, "there is no file"),
    ],
)
def test_faults_of_the_input_are_named(winner, name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        predict(winner, tmp_path / name, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_an_unknown_output_format_and_column_are_named(winner, rows, tmp_path):
    path = write(tmp_path / "new.csv", rows)
    with pytest.raises(DataError, match="predictions are written as"):
        predict(winner, path, tmp_path / "out.xlsx")
    with pytest.raises(DataError, match="no column 'idd'; did you mean 'id'"):
        predict(winner, path, keep=["idd"])


def test_a_missing_backbone_is_named_and_another_one_refused(winner, rows, tmp_path):
    path = write(tmp_path / "new.csv", rows)
    copy = tmp_path / "copy"
    shutil.copytree(winner, copy)
    manifest = json.loads((copy / "tuneoff.json").read_text())
    home = manifest["backbone"]["path"]
    manifest["backbone"]["path"] = "nobody/no-such-model"
    (copy / "tuneoff.json").write_text(json.dumps(manifest))
    with pytest.raises(BackboneError, match=r"(?s)nobody/no-such-model.*--backbone"):
        predict(copy, path)
    done = predict(copy, path, tmp_path / "out.csv", backbone=home)
    assert done.rows == len(rows)
    other = tmp_path / "other"
    shutil.copytree(home, other)
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BackboneError, match="not the one"):
        predict(copy, path, backbone=str(other))


def test_a_folder_without_a_saved_model_is_named(rows, tmp_path):
    with pytest.raises(BackboneError, match=r"has no tuneoff.json"):
        predict(tmp_path, tmp_path / "new.csv")


def test_reading_is_piecewise(winner, rows, tmp_path, monkeypatch):
    """A fault far down shows when its piece is read, not before: nothing is read ahead."""
    from tuneoff.winner.manifest import read_manifest

    monkeypatch.setattr("tuneoff.datasets._delimited.BATCH_ROWS", 5)
    path = write(tmp_path / "new.csv", [*rows[:10], {"id": "x", "review": ""}])
    pieces = new_rows.read_pieces(path, read_manifest(winner).data)
    assert [next(pieces).count, next(pieces).count] == [5, 5]
    with pytest.raises(DataError, match="line 12"):
        next(pieces)
