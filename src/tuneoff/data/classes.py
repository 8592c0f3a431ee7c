"""Labels as they stand in data, and the classes that they name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tuneoff.errors import DataError

if TYPE_CHECKING:
    from tuneoff.datasets import Rows

_WHOLE = re.compile(r"[+-]?\d+")


def class_name(value: Any) -> str | None:
    """The class that a label names, or None for a missing label.

    Raises DataError for what cannot be a class.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not value.is_integer():
            raise DataError(
                f"the label {value} is a measure, not a class; classification needs a text or a "
                "whole number"
            )
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.strip() or None
    raise DataError(f"the label {value!r} is a {type(value).__name__}, not a text or a number")


def ordered_classes(names: Iterable[str]) -> list[str]:
    """Distinct class names: whole numbers by value, else by alphabet."""
    distinct = set(names)
    if all(_WHOLE.fullmatch(name) for name in distinct):
        return sorted(distinct, key=lambda name: (int(name), name))
    return sorted(distinct)


def classes_of(train: Rows) -> list[str]:
    """The classes of the column `label`, in the order of their indices.

    Raises DataError when there are not at least two of them.
    """
    train.require(["label"])
    met: set[str] = set()
    for batch in train.batches(columns=["label"]):
        met.update(filter(None, map(class_name, batch["label"])))
    if len(met) < 2:
        raise DataError(
            f"{train.where(0)}: the label column of train holds {len(met)} class"
            f"{'' if len(met) == 1 else 'es'} ({', '.join(sorted(met)) or 'none'}); "
            "classification needs two or more"
        )
    if len(met) == len(train) > 20:
        raise DataError(
            f"{train.where(0)}: every row of train has a label of its own ({len(met)}); is "
            "`label` the right column? Say which one it is: `columns: {label: ...}`"
        )
    return list(train.class_names("label") or ordered_classes(met))
