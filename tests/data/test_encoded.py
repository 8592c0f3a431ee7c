"""From a file to features: against the tokenizer and the file read by hand, cached and whole."""

import json
import random

import numpy as np
import pytest

from tests.data.tokenizers import REAL, SHARED, real_rows, tokenizer
from tuneoff.data import token_store
from tuneoff.data.encoded import encode_splits, prepare, split_rows
from tuneoff.datasets.csv import Csv
from tuneoff.datasets.jsonl import Jsonl
from tuneoff.datasets.synthetic import Synthetic
from tuneoff.errors import DataError
from tuneoff.study import Limit, Split
from tuneoff.tasks.language_modelling import LanguageModelling
from tuneoff.tasks.text_classification import TextClassification

TASK = TextClassification(max_length=16)


def made(n, seed=0, start=0, labels=("no", "yes")):
    rng = random.Random(seed)
    words = ["good", "bad", "film", "very", "not", "the", "it"]
    return [
        {
            "text": f"{' '.join(rng.choices(words, k=rng.randrange(1, 20)))} {start + i}",
            "label": rng.choice(labels),
        }
        for i in range(n)
    ]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    return {
        name: jsonl(tmp_path / f"{name}.jsonl", made(n, seed=n, start=1000 * n))
        for name, n in (("train", 60), ("validation", 20), ("test", 30))
    }


def as_lists(features):
    bounds = zip(features.offsets[:-1], features.offsets[1:], strict=True)
    return [features.tokens[a:b].tolist() for a, b in bounds]


def check(prepared, split, rows, made_by, max_length, texts=("text",), label="label"):
    """Features of a split equal to the tokenizer's, row by row."""
    features = prepared.features[split]
    theirs = [
        made_by(*(row[name] for name in texts), truncation=True, max_length=max_length)
        for row in rows
    ]
    assert as_lists(features) == [one["input_ids"] for one in theirs]
    names = [prepared.facts["classes"][target] for target in features.targets]
    assert names == [str(row[label]) for row in rows]
    if "token_type_ids" in made_by.model_input_names:
        types = np.concatenate([one["token_type_ids"] for one in theirs])
        assert (features.token_type is None) == (not types.any())
        if features.token_type is not None:
            assert features.token_type.tolist() == types.tolist()


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_features_are_those_of_the_file(files, name):
    prepared = prepare(TASK, Jsonl(**files), tokenizer(name))
    for split, path in files.items():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        check(prepared, split, rows, tokenizer(name), 16)
    assert prepared.facts == {
        "columns": ["text"],
        "classes": ["no", "yes"],
        "kind": "encoder",
        "head": "sequence_classification",
        "room": None,
    }
    assert prepared.report["rows"] == {"train": 60, "validation": 20, "test": 30}
    assert prepared.report["truncated"]["train"] > 0
    features = prepared.features["train"]
    assert isinstance(features.tokens, np.memmap)
    assert (features.tokens.dtype, features.offsets.dtype, features.targets.dtype) == (
        np.int32,
        np.int64,
        np.int64,
    )


QUORA = {"text": "question1", "text_pair": "question2", "label": "is_duplicate"}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    ("dataset", "columns", "texts", "label"),
    [
        ("sst5", {}, ("text",), "label"),
        ("quora", QUORA, ("question1", "question2"), "is_duplicate"),
    ],
)
def test_real_data_and_real_tokenizers(name, dataset, columns, texts, label):
    rows = real_rows(dataset, "validation", 10_000)
    files = {split: SHARED / dataset / f"{split}.csv" for split in ("train", "validation", "test")}
    task = TextClassification(max_length=48)
    prepared = prepare(
        task, Csv(**files), tokenizer(name), columns=columns, limit=Limit(train=200, test=200)
    )
    if name == "gpt2" and len(texts) == 2:  # it puts no mark between two texts: a line ends there
        rows = [row | {texts[1]: f"\n{row[texts[1]]}"} for row in rows]
    check(prepared, "validation", rows, tokenizer(name), 48, texts, label)
    assert len(prepared.features["train"]) == 200


def test_columns_that_are_joined():
    rows = real_rows("amazon", "test", 10_000)
    joined = [
        {"text": f"{row['title']} {row['content']}".strip(), "label": row["label"]} for row in rows
    ]
    data = Csv(train=SHARED / "amazon" / "test.csv")
    prepared = prepare(TASK, data, tokenizer("encoder"), columns={"text": ["title", "content"]})
    lengths = sum(len(one) for one in prepared.features.values())
    assert lengths == len(rows)
    ours = sorted(ids for one in prepared.features.values() for ids in as_lists(one))
    theirs = tokenizer("encoder")([row["text"] for row in joined], truncation=True, max_length=16)
    assert ours == sorted(theirs["input_ids"])


def test_the_second_time_comes_from_the_cache(files, monkeypatch):
    first = prepare(TASK, Jsonl(**files), tokenizer("encoder"))
    monkeypatch.setattr(token_store, "write", lambda *_: pytest.fail("tokenized again"))
    again = prepare(TASK, Jsonl(**files), tokenizer("encoder"))
    assert again.fingerprint == first.fingerprint
    assert again.report == first.report
    for split in files:
        assert as_lists(again.features[split]) == as_lists(first.features[split])


def test_the_cache_is_by_content_settings_and_tokenizer(files, tmp_path):
    def key(task=TASK, made_by="encoder", **changed):
        return prepare(task, Jsonl(**files | changed), tokenizer(made_by)).fingerprint

    same = key()
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(files["train"].read_bytes())
    assert key(train=moved) == same
    assert key(task=TextClassification(max_length=17)) != same
    assert key(made_by="decoder") != same
    rows = [json.loads(line) for line in files["train"].read_text().splitlines()]
    rows[7]["text"] += "!"
    assert key(train=jsonl(tmp_path / "changed.jsonl", rows)) != same


def test_the_same_rows_in_another_format_have_the_same_fingerprint(files, tmp_path):
    import csv

    rows = [json.loads(line) for line in files["train"].read_text().splitlines()]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["label", "text"])
        writer.writeheader()
        writer.writerows(rows)
    made_by = tokenizer("encoder")
    assert (
        prepare(TASK, Csv(train=tmp_path / "train.csv"), made_by).fingerprint
        == prepare(TASK, Jsonl(train=files["train"]), made_by).fingerprint
    )


def test_a_damaged_or_half_written_entry_is_never_seen(files, cache, monkeypatch):
    def dies(examples, folder, form):
        (folder / "tokens.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(token_store, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            prepare(TASK, Jsonl(**files), tokenizer("encoder"))
    assert list((cache / "tokens").iterdir()) == []
    prepared = prepare(TASK, Jsonl(**files), tokenizer("encoder"))
    assert len(prepared.features["train"]) == 60


def test_made_splits_are_disjoint_and_reported(files):
    made_splits = split_rows(
        TASK, Jsonl(train=files["train"]), split=Split(test=0.2, validation=10)
    )
    texts = {name: set(rows.column("text")) for name, rows in made_splits.rows.items()}
    assert made_splits.report["rows"] == {"train": 38, "validation": 10, "test": 12}
    assert made_splits.report["made_splits"] == ["validation", "test"]
    assert len(set.union(*texts.values())) == 60
    assert made_splits.report["leaks"] == []


def test_test_is_given_and_never_touched(files):
    splits = split_rows(TASK, Jsonl(train=files["train"], test=files["test"]))
    given = [json.loads(line)["text"] for line in files["test"].read_text().splitlines()]
    assert splits.rows["test"].column("text") == given
    assert splits.report["made_splits"] == ["validation"]


def test_limits_hold_for_each_split(files):
    splits = split_rows(TASK, Jsonl(**files), limit=Limit(train=10, test=7))
    assert splits.report["rows"] == {"train": 10, "validation": 20, "test": 7}


def test_leaks_are_reported_and_dropped_when_so_set(files, tmp_path):
    test = [json.loads(line) for line in files["test"].read_text().splitlines()]
    same, like = test[3]["text"], test[4]["text"].upper() + "!"
    train = [*made(40), {"text": same, "label": "no"}, {"text": like, "label": "no"}]
    path = jsonl(tmp_path / "leaky.jsonl", train)
    settings = files | {"train": path}
    report = split_rows(TASK, Jsonl(**settings)).report
    (leak,) = report["leaks"]
    assert (report["leaked_test_rows"], leak["count"], leak["exact"]) == (2, 2, 1)
    assert leak["examples"][0]["test"].endswith("test.jsonl line 4")
    assert leak["examples"][0]["train"].endswith("leaky.jsonl line 41")
    assert report["rows"]["train"] == 42

    clean = split_rows(TASK, Jsonl(**settings, drop_leaked=True))
    assert clean.report["rows"]["train"] == 40
    assert clean.report["leaked_rows_dropped_from_train"] == 2
    assert clean.report["leaked_test_rows"] == 2
    assert clean.rows["train"].column("text") == [row["text"] for row in train[:40]]
    json.dumps(clean.report)


BAD = [
    {"text": None, "label": "no"},
    {"text": "  ", "label": "no"},
    {"text": "fine", "label": None},
    {"label": "no"},
]


def test_rows_without_text_or_label_are_refused_with_their_lines(files, tmp_path):
    path = jsonl(tmp_path / "bad.jsonl", made(20) + BAD)
    with pytest.raises(DataError) as caught:
        split_rows(TASK, Jsonl(train=path))
    message = str(caught.value)
    assert "4 bad rows" in message
    for line, reason in ((21, "no text"), (22, "no text"), (23, "no label"), (24, "no text")):
        assert f"bad.jsonl line {line}: {reason}" in message
    dropped = split_rows(TASK, Jsonl(train=path, on_bad_rows="drop"))
    assert sum(dropped.report["rows"].values()) == 20
    assert dropped.report["left_out"]["train"] == {"no text": 3, "no label": 1}


def test_a_split_without_labels_is_refused(files, tmp_path):
    unlabelled = jsonl(
        tmp_path / "test.jsonl", [{"text": f"t {i}", "label": None} for i in range(5)]
    )
    with pytest.raises(DataError, match=r"none of 5 rows can be used \(no label: 5\)"):
        split_rows(TASK, Jsonl(train=files["train"], test=unlabelled, on_bad_rows="drop"))


def test_labels_that_train_never_has_are_refused(files, tmp_path):
    odd = made(20, start=5000)
    odd[4]["label"] = odd[9]["label"] = "maybe"
    path = jsonl(tmp_path / "odd.jsonl", odd)
    with pytest.raises(
        DataError, match=r"odd\.jsonl line 5: .*'maybe' stands 2 times in test and never in train"
    ):
        split_rows(TASK, Jsonl(train=files["train"], test=path))


def test_missing_columns_name_the_nearest(files, tmp_path):
    path = jsonl(tmp_path / "x.jsonl", [{"review": "a", "labels": "b"}])
    with pytest.raises(
        DataError,
        match=r"x\.jsonl: there is no column 'text'.*Columns: review, labels.*columns: \{text",
    ):
        split_rows(TASK, Jsonl(train=path))
    with pytest.raises(DataError, match=r"no column 'label'; did you mean 'labels'"):
        split_rows(TASK, Jsonl(train=path), columns={"text": "review"})
    with pytest.raises(DataError, match=r"no column 'reveiw'; did you mean 'review'"):
        split_rows(TASK, Jsonl(train=path), columns={"text": "reveiw"})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (made(20, labels=["one"]), "holds 1 class "),
        ([{"text": f"t {i}", "label": f"id {i}"} for i in range(40)], "label of its own"),
        ([{"text": f"t {i}", "label": i / 3} for i in range(40)], "is a measure, not a class"),
        ([{"text": f"t {i}", "label": [i]} for i in range(40)], "is a list, not a text"),
        ([{"text": [f"t {i}"], "label": i % 2} for i in range(40)], "'text' holds a list"),
    ],
)  # fmt: skip
def test_labels_and_texts_that_cannot_be_are_refused(tmp_path, rows, expected):
    with pytest.raises(DataError, match=expected):
        split_rows(TASK, Jsonl(train=jsonl(tmp_path / "train.jsonl", rows)))


def test_numbers_and_declared_classes_keep_their_order(tmp_path):
    rows = [{"text": f"t {i}", "label": i % 11} for i in range(110)]
    splits = split_rows(TASK, Jsonl(train=jsonl(tmp_path / "train.jsonl", rows)))
    assert splits.facts["classes"] == [str(i) for i in range(11)]
    declared = split_rows(TASK, Synthetic(train=100, validation=20, test=20))
    assert declared.facts["classes"] == Synthetic().load()["train"].class_names("label")
    assert declared.report["synthetic"]


def test_in_memory_and_on_disk_are_the_same(files):
    splits = split_rows(TASK, Jsonl(**files))
    for task in (
        TASK,
        LanguageModelling(max_length=8),
        LanguageModelling(max_length=8, packed=True),
    ):
        splits.facts["columns"] = ["text"]
        on_disk = encode_splits(task, splits, tokenizer("decoder")).features["train"]
        in_memory = task.features(splits.rows["train"], splits.facts, tokenizer("decoder"))
        for name in ("tokens", "offsets", "targets"):
            assert getattr(on_disk, name).tolist() == getattr(in_memory, name).tolist()
        assert (on_disk.truncated, on_disk.left_out) == (in_memory.truncated, in_memory.left_out)


def test_new_rows_need_no_label(files):
    splits = split_rows(TASK, Jsonl(**files))
    rows = splits.rows["test"]
    features = TASK.features(rows, splits.facts, tokenizer("encoder"), labelled=False)
    assert set(features.targets.tolist()) == {-100}
    labelled = TASK.features(rows, splits.facts, tokenizer("encoder"))
    assert features.tokens.tolist() == labelled.tokens.tolist()
