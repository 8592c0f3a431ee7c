"""Further test sets: encoded as a test split of the same file would be, checked against train."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_encoded import TASK, as_lists, jsonl, made
from tests.data.tokenizers import tokenizer
from tuneoff.data.encoded import prepare
from tuneoff.datasets.jsonl import Jsonl
from tuneoff.errors import DataError
from tuneoff.study import DataSpec, Limit, load_study


@pytest.fixture
def files(tmp_path):
    rows = {"train": made(60, 1), "test": made(30, 2, 1000), "tweets": made(25, 3, 2000)}
    rows["tweets"] += rows["train"][:4]  # the overlap
    return {name: jsonl(tmp_path / f"{name}.jsonl", one) for name, one in rows.items()}


def data(files: dict[str, Path], shift, **more) -> DataSpec:
    given = {"dataset": "jsonl", "train": str(files["train"]), "test": str(files["test"])}
    task = {"text_classification": {"data": {**given, "shift": {"tweets": shift}, **more}}}
    study = load_study({"backbones": ["mini-bert"], "methods": ["full"], "tasks": [task]})
    return study.tasks[0].data


def prepared(spec: DataSpec):
    return prepare(
        TASK,
        spec.source,
        tokenizer("encoder"),
        columns=spec.columns,
        limit=spec.limit,
        shift=spec.shift,
    )


def test_it_is_encoded_as_a_test_split_of_the_same_rows(files):
    found = prepared(data(files, str(files["tweets"])))
    given = {"train": files["train"], "test": files["tweets"]}
    as_test = prepare(TASK, Jsonl(**given), tokenizer("encoder")).features["test"]
    there = found.features["shift:tweets"]
    assert as_lists(there) == as_lists(as_test)
    assert np.array_equal(there.targets, as_test.targets)
    assert as_lists(there) != as_lists(found.features["test"])
    assert found.report["rows"] == {"train": 54, "validation": 6, "test": 30, "shift:tweets": 29}


def test_every_form_names_the_same_rows(files, tmp_path):
    moved = [
        {"body": row["text"], "stars": row["label"]}
        for row in map(json.loads, files["tweets"].read_text().splitlines())
    ]
    other = jsonl(tmp_path / "moved.jsonl", moved)
    forms = [
        str(files["tweets"]),
        [str(files["tweets"])],
        {"test": str(files["tweets"])},
        {"dataset": "jsonl", "train": str(files["tweets"])},
        {"jsonl": {"train": str(files["test"]), "test": str(files["tweets"])}},
        {"test": str(other), "columns": {"text": "body", "label": "stars"}},
    ]
    found = [prepared(data(files, form)).features["shift:tweets"] for form in forms]
    assert all(as_lists(one) == as_lists(found[0]) for one in found)
    assert all(np.array_equal(one.targets, found[0].targets) for one in found)


def test_the_overlap_with_train_is_counted_and_can_be_dropped(files):
    report = prepared(data(files, str(files["tweets"]))).report
    made_here = {"shift:tweets"}
    (leak,) = (one for one in report["leaks"] if one["split"] in made_here)
    in_train = 4 - sum(
        one["text"] in held for one in made(60, 1)[:4] for held in [_held_out(files)]
    )
    assert (leak["other"], leak["count"], leak["exact"]) == ("train", in_train, in_train)
    assert report["leaked_test_rows"] == 0
    cleaned = prepared(data(files, str(files["tweets"]), drop_leaked=True)).report
    assert cleaned["leaked_rows_dropped_from_train"] == in_train


def _held_out(files) -> set[str]:
    """Texts of train that were drawn as validation."""
    spec = data(files, str(files["tweets"]))
    from tuneoff.data.encoded import split_rows

    return set(split_rows(TASK, spec.source).rows["validation"].column("text"))


def test_a_label_that_train_lacks_is_refused(files, tmp_path):
    odd = jsonl(tmp_path / "odd.jsonl", made(5, 9, labels=("no", "maybe")))
    with pytest.raises(DataError, match=r"odd.jsonl.*'maybe' stands .* in shift:tweets and never"):
        prepared(data(files, str(odd)))


def test_columns_that_are_missing_are_named(files, tmp_path):
    odd = jsonl(tmp_path / "odd.jsonl", [{"texts": "good film", "label": "no"}] * 3)
    with pytest.raises(DataError, match=r"odd.jsonl: there is no column 'text'.*'texts'"):
        prepared(data(files, str(odd)))


def test_it_is_limited_as_test_is(files):
    limited = prepared(data(files, str(files["tweets"]), limit={"test": 12}))
    assert data(files, str(files["tweets"]), limit={"test": 12}).limit == Limit(test=12)
    assert {name: len(one) for name, one in limited.features.items()} == {
        "train": 54,
        "validation": 6,
        "test": 12,
        "shift:tweets": 12,
    }


def test_content_names_it_and_its_place_does_not(files, tmp_path):
    before = data(files, str(files["tweets"])).fingerprint()
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(files["tweets"].read_bytes())
    assert data(files, str(moved)).fingerprint() == before
    jsonl(moved, made(25, 4, 2000))
    assert data(files, str(moved)).fingerprint() != before
    plain = DataSpec(dataset="jsonl", source=Jsonl(train=files["train"], test=files["test"]))
    assert plain.fingerprint() == plain.source.fingerprint() != before
