"""Saved and hub datasets, in a cache of the library's own making; the network is never needed."""

import pytest

import datasets
from tuneoff.datasets import hub
from tuneoff.datasets.disk import Disk
from tuneoff.datasets.hub import Hub
from tuneoff.errors import DataError

FEATURES = datasets.Features(
    text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"])
)


def made(n, name):
    rows = {"text": [f"{name} {i}" for i in range(n)], "label": [i % 2 for i in range(n)]}
    return datasets.Dataset.from_dict(rows, features=FEATURES)


@pytest.fixture
def saved(tmp_path):
    splits = {"train": made(10, "train"), "dev": made(4, "dev"), "test": made(4, "test")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "mine")
    return tmp_path / "mine"


def test_saved_splits_by_name(saved):
    splits = Disk(path=saved).load()
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 10,
        "validation": 4,
        "test": 4,
    }
    assert splits["validation"].column("text")[0] == "dev 0"
    assert splits["train"].column("label")[:2] == ["neg", "pos"]
    assert splits["train"].class_names("label") == ["neg", "pos"]
    assert splits["test"].where(3) == "mine test row 3"


def test_no_split_is_taken_twice(saved):
    splits = Disk(path=saved, test="dev").load()
    assert set(splits) == {"train", "test"}
    assert splits["test"].column("text")[0] == "dev 0"


def test_a_single_dataset_is_train_and_selections_hold(tmp_path):
    made(10, "all").select([7, 1, 3]).save_to_disk(tmp_path / "one")
    splits = Disk(path=tmp_path / "one").load()
    assert list(splits) == ["train"]
    assert splits["train"].column("text") == ["all 7", "all 1", "all 3"]


def test_shuffled_rows_of_the_library_keep_their_order():
    from tuneoff.datasets._library import library_rows

    shuffled = made(10, "all").shuffle(seed=1)
    assert (
        library_rows(shuffled, "x").column("text")
        == shuffled["text"][:]
        != made(10, "all")["text"][:]
    )


def test_what_is_not_there_is_explained(saved, tmp_path):
    with pytest.raises(DataError, match=r"no split 'tset'; did you mean 'test'\?"):
        Disk(path=saved, test="tset").load()
    with pytest.raises(DataError, match="no folder"):
        Disk(path=tmp_path / "nowhere").load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no whole dataset"):
        Disk(path=tmp_path / "empty").load()


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and an empty cache of the library."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(
        hub.socket, "create_connection", lambda *_: (_ for _ in ()).throw(OSError("no network"))
    )
    monkeypatch.setattr(hub.urllib.request, "getproxies", dict)
    return tmp_path / "hf"


def test_offline_and_not_cached_says_what_to_do(offline):
    with pytest.raises(DataError) as caught:
        Hub(name="acme/reviews", config="small", revision="abc").load()
    message = str(caught.value)
    assert "acme/reviews (small) is not in the cache" in message
    assert (
        "python -c \"from datasets import load_dataset; load_dataset('acme/reviews', 'small', "
        "revision='abc').save_to_disk('reviews')\"" in message
    )
    assert "dataset: disk, path: reviews" in message
    assert "dataset: csv" in message


def test_the_command_in_the_message_is_python(offline):
    with pytest.raises(DataError) as caught:
        Hub(name="acme/reviews").load()
    command = str(caught.value).split('python -c "')[1].split('"')[0]
    compile(command, "command", "exec")


def test_offline_and_cached_is_read(offline, tmp_path):
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    made(6, "train").to_parquet(tmp_path / "files" / "train.parquet")
    datasets.load_dataset(
        "parquet", data_dir=str(tmp_path / "files"), cache_dir=str(tmp_path / "built")
    )
    (built,) = (tmp_path / "built" / "parquet").glob("*/*/*/dataset_info.json")
    place = offline / "acme___reviews" / "default" / "0.0.0" / built.parent.name
    place.mkdir(parents=True)
    for file in built.parent.iterdir():
        content = file.read_bytes()
        if file.name == "dataset_info.json":
            content = content.replace(b'"dataset_name": "parquet"', b'"dataset_name": "reviews"')
            content = content.replace(built.parent.parent.parent.name.encode(), b"default")
        (place / file.name.replace("parquet-", "reviews-")).write_bytes(content)
    splits = Hub(name="acme/reviews").load()
    assert splits["train"].column("text") == [f"train {i}" for i in range(6)]
    assert splits["train"].column("label")[:2] == ["neg", "pos"]
    assert before == constants.HF_HUB_OFFLINE
