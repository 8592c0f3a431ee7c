"""Looks at a data file: which column is text, which the label, what is odd.

    found = look(Path("reviews.csv"))

Everything here is a guess from names and values; `init_study.py` writes it where a person can
change it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneoff import registry
from tuneoff.errors import DataError
from tuneoff.study_form import label as as_name

if TYPE_CHECKING:
    from tuneoff.datasets import Rows

_LABELS = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "topic",
    "intent",
    "stars",
    "rating",
    "score",
    "polarity",
    "answer",
    "is_duplicate",
    "y",
    "gold",
)
_TEXTS = (
    "text",
    "sentence",
    "review",
    "content",
    "document",
    "body",
    "message",
    "comment",
    "tweet",
)
LABELS = frozenset(_LABELS)
"""What columns of labels are called."""
_SPLITS = {"validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
_MOST_ROWS = 200_000  # rows that are looked at; more would not change the guesses
_MOST_CLASSES = 200
CHARACTERS_PER_TOKEN = 4.0  # English text under a BERT or GPT-2 tokenizer, roughly


@dataclass(frozen=True)
class Found:
    """What was seen. classes: rows per class, the largest first; lengths: characters per text, at
    the median, the 95th percentile and the most; repeated: rows whose text stood before;
    contradictions: texts that stand with different labels."""

    files: dict[str, Path]
    dataset: str
    rows: int
    whole: bool
    text: tuple[str, ...]
    pair: bool
    label: str
    classes: dict[str, int]
    lengths: tuple[int, int, int]
    repeated: int
    contradictions: int
    empty: int
    others: tuple[str, ...] = field(default=())

    @property
    def imbalance(self) -> float:
        """Rows of the largest class over rows of the smallest."""
        counts = list(self.classes.values())
        return max(counts) / min(counts)

    @property
    def name(self) -> str:
        """A name for the study."""
        return name_of(self.files["train"])

    @property
    def max_length(self) -> int:
        """Tokens that hold 95 % of the texts: a power of two from 32 to 512."""
        tokens = self.lengths[1] / CHARACTERS_PER_TOKEN + 2
        return next((size for size in (32, 64, 128, 256, 512) if size >= tokens), 512)


def name_of(file: Path) -> str:
    """A study's name from its file: the file's own, or its folder's where that says no more than
    that it is data: `train.csv`, `train-v1.1.json`, `data.csv`."""
    says_nothing = re.fullmatch(r"data|train(ing)?([-_.].*)?", file.stem, re.IGNORECASE)
    return as_name(file.absolute().parent.name if says_nothing else file.stem)


def look(file: Path, text: Sequence[str] = (), label: str | None = None) -> Found:
    """What stands in a CSV, TSV, JSON, JSONL or Parquet file.

    text, label: the columns, where a person says which.

    Raises DataError when the file cannot be read or has no usable columns.
    """
    dataset = file.suffix.lstrip(".").lower()
    known = [name for name in registry.names("datasets") if name in _file_kinds()]
    if dataset not in known:
        endings = ", ".join(f".{name}" for name in known)
        raise DataError(f"{file}: cannot tell the format from its ending; known: {endings}")
    if not file.is_file():
        there = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"there is no file {file}{registry.nearest(file.name, there)}")
    part = registry.get("datasets", dataset)
    rows: Rows = part(train=file).load()["train"]
    columns = columns_of(rows)
    names = list(columns)
    for name in [*text, *([label] if label else [])]:
        if name not in columns:
            near = registry.nearest(name, names) or f"; it has {', '.join(names)}"
            raise DataError(f"{file}: there is no column {name!r}{near}")
    label = label or _guess_label(file, columns, set(text))
    chosen, pair = (tuple(text), False) if text else _guess_text(file, columns, label)
    pair = pair or (len(text) == 2 and _is_pair(text[0], text[1]))
    return _described(file, dataset, rows, columns, chosen, pair, label)


def _file_kinds() -> set[str]:
    return {"csv", "tsv", "json", "jsonl", "parquet"}


def columns_of(rows: Rows) -> dict[str, list[Any]]:
    """The values of every column, of the first rows of a very long file."""
    columns: dict[str, list[Any]] = {name: [] for name in rows.column_names}
    seen = 0
    for batch in rows.batches():
        for name, values in batch.items():
            if name in columns:
                columns[name] += values
        seen += len(next(iter(batch.values()), []))
        if seen >= _MOST_ROWS:
            break
    return columns


def _guess_label(file: Path, columns: dict[str, list[Any]], texts: set[str]) -> str:
    """A column that is called like a label, else the one with the fewest values."""
    distinct = {
        name: len({str(value) for value in values if value is not None})
        for name, values in columns.items()
        if name not in texts
        and _bare(name) not in _TEXTS
        and all(isinstance(v, str | int | bool | None) for v in values)
    }
    rows = max(map(len, columns.values()), default=0)
    fit = {
        name: count
        for name, count in distinct.items()
        if 2 <= count <= _MOST_CLASSES and count <= max(2, rows // 3)
    }
    named = [name for name in fit if _bare(name) in _LABELS]
    if named:
        return min(named, key=lambda name: _LABELS.index(_bare(name)))
    short = {n: c for n, c in fit.items() if _mean_length(columns[n]) < 40}
    if short:
        return min(short, key=lambda name: short[name])
    counts = ", ".join(f"{name} ({count} values)" for name, count in distinct.items())
    raise DataError(
        f"{file}: no column looks like a label (2 to {_MOST_CLASSES} different values): "
        f"{counts or 'there are no columns'}. Say which it is: --label COLUMN"
    )


def _guess_text(
    file: Path, columns: dict[str, list[Any]], label: str
) -> tuple[tuple[str, ...], bool]:
    """The longest column of text, or a pair whose names say that they belong together."""
    lengths = {
        name: _mean_length(values)
        for name, values in columns.items()
        if name != label and any(isinstance(value, str) for value in values)
    }
    if not lengths:
        raise DataError(
            f"{file}: beside {label!r} there is no column of text. Say which it is: --text COLUMN"
        )
    for first in lengths:
        for second in lengths:
            if _is_pair(first, second):
                return (first, second), True
    named = [name for name in lengths if _bare(name) in _TEXTS]
    longest = max(lengths, key=lambda name: lengths[name])
    if named and lengths[longest] < 2 * max(lengths[name] for name in named):
        return (max(named, key=lambda name: lengths[name]),), False
    return (longest,), False


def _is_pair(first: str, second: str) -> bool:
    if (first.lower(), second.lower()) == ("premise", "hypothesis"):
        return True
    match = re.fullmatch(r"(.+?)_?(1|a)", first, re.IGNORECASE)
    if match is None:
        return False
    other = {"1": "2", "a": "b"}[match[2].lower()]
    return re.fullmatch(rf"{re.escape(match[1])}_?{other}", second, re.IGNORECASE) is not None


def _bare(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _mean_length(values: list[Any]) -> float:
    texts = [str(value) for value in values[:2000] if value is not None]
    return sum(map(len, texts)) / max(1, len(texts))


def _described(
    file: Path,
    dataset: str,
    rows: Rows,
    columns: dict[str, list[Any]],
    text: tuple[str, ...],
    pair: bool,
    label: str,
) -> Found:
    joined = [
        " ".join(map(_written, parts)) for parts in zip(*(columns[n] for n in text), strict=True)
    ]
    labels = list(map(_written, columns[label]))
    usable = [(t, c) for t, c in zip(joined, labels, strict=True) if t.strip() and c]
    if not usable:
        raise DataError(f"{file}: no row has both a text ({', '.join(text)}) and a {label}")
    counts = Counter(c for _, c in usable)
    sizes = sorted(len(t) for t, _ in usable)
    by_text: dict[str, set[str]] = {}
    for t, c in usable:
        by_text.setdefault(t, set()).add(c)
    return Found(
        files={"train": file, **siblings(file)},
        dataset=dataset,
        rows=len(rows),
        whole=len(joined) == len(rows),
        text=text,
        pair=pair,
        label=label,
        classes=dict(counts.most_common()),
        lengths=(sizes[len(sizes) // 2], sizes[int(0.95 * (len(sizes) - 1))], sizes[-1]),
        repeated=len(usable) - len(by_text),
        contradictions=sum(len(classes) > 1 for classes in by_text.values()),
        empty=len(joined) - len(usable),
        others=tuple(name for name in columns if name not in (*text, label)),
    )


def _written(value: Any) -> str:
    return "" if value is None else str(value)


def siblings(file: Path) -> dict[str, Path]:
    """`validation.csv` and `test.csv` beside a `train.csv`."""
    if "train" not in file.stem.lower():
        return {}
    found = {}
    for split, words in _SPLITS.items():
        for word in words:
            beside = file.with_stem(re.sub("train", word, file.stem, flags=re.IGNORECASE))
            if beside.is_file():
                found[split] = beside
                break
    return found
