import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuneoff.datasets.parquet import Parquet
from tuneoff.errors import DataError


def test_values_and_categories(tmp_path):
    table = pa.table({
        "text": ["a", None, "c"],
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
        "n": pa.array([1, 2, 3], pa.int8()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=2)
    train = Parquet(train=tmp_path / "train.parquet").load()["train"]
    assert list(train) == table.to_pylist()
    assert train.where(2).endswith("train.parquet row 2")


def test_class_names_that_the_datasets_library_wrote(tmp_path):
    import datasets

    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"])
    )
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    train = Parquet(train=tmp_path / "train.parquet").load()["train"]
    assert train.column("label") == ["pos", "neg", None]
    assert train.class_names("label") == ["neg", "pos"]


def test_damaged_files_are_explained(tmp_path):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": np.arange(1000).astype(str)}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train\.parquet is no whole Parquet file"):
        Parquet(train=path).load()


def test_files_of_other_types_are_explained(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": ["one"]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet, column 'label': string where .* int64"):
        Parquet(train=tmp_path / "*.parquet").load()
