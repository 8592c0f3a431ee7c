from tuneoff.datasets.synthetic import Synthetic
from tuneoff.datasets.synthetic_rows import LABELS


def test_rows_by_size_and_seed():
    splits = Synthetic(train=30, validation=10, test=20).load()
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 30,
        "validation": 10,
        "test": 20,
    }
    assert splits["train"].class_names("label") == list(LABELS)
    texts = splits["train"].column("text")
    assert Synthetic(train=30).load()["train"].column("text") == texts
    assert Synthetic(train=30, seed=1).load()["train"].column("text") != texts


def test_it_says_that_it_is_synthetic():
    assert Synthetic.synthetic
    assert "synthetic" in Synthetic().title
