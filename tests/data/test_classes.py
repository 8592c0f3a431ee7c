import pytest

from tuneoff.data.classes import class_name, ordered_classes
from tuneoff.errors import DataError


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (3, "3"),
        (3.0, "3"),
        (-1, "-1"),
        (True, "true"),
        (False, "false"),
        (" good ", "good"),
        ("007", "007"),
        ("NA", "NA"),
        (None, None),
        (float("nan"), None),
        ("", None),
        ("  ", None),
    ],
)
def test_names(value, name):
    assert class_name(value) == name


@pytest.mark.parametrize("value", [3.7, [1], {"a": 1}])
def test_what_is_no_class_is_refused(value):
    with pytest.raises(DataError, match="label"):
        class_name(value)


def test_numbers_by_value_and_texts_by_alphabet():
    assert ordered_classes(["10", "9", "-1", "9"]) == ["-1", "9", "10"]
    assert ordered_classes(["10", "9", "many"]) == ["10", "9", "many"]
    assert ordered_classes(["pos", "neg", "neg"]) == ["neg", "pos"]
