"""A study's data, ready to train on: rows read, split, checked and tokenized, all of it cached.

prepared = prepare(task, dataset, tokenizer, columns={"text": "review", "label": "stars"})
prepared.features["train"], prepared.facts["classes"], prepared.report["leaks"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from tuneoff.backbones.names import BackboneKind
from tuneoff.data import token_store
from tuneoff.data.cache import cached
from tuneoff.data.digest import digest, tokenizer_digest
from tuneoff.data.leaks import clean_train, find_leaks, find_shared
from tuneoff.data.scan import Scanned, scan_rows
from tuneoff.data.splits import limited, made_splits
from tuneoff.datasets import SHIFT, SPLITS, Dataset, Rows
from tuneoff.errors import DataError
from tuneoff.study import Limit, ShiftSpec, Split
from tuneoff.tasks import Task
from tuneoff.training.features import Features

_ENCODING = 4  # raised when the same rows would give other features than before


@dataclass(frozen=True)
class Splits:
    """The rows of a study's splits, before any tokenizer: what `tuneoff plan` needs.

    facts: what the data decides (`columns`, and `classes` for classification); report: plain JSON
    data about rows, made splits, what was left out, leaks; on_bad_rows: the dataset's.
    """

    rows: dict[str, Rows]
    facts: dict[str, Any]
    report: dict[str, Any]
    on_bad_rows: str = "error"


@dataclass(frozen=True)
class Prepared:
    """Features by split, and what people should know about the data.

    facts as in `Splits`; report also has `tokens` and `truncated` per split; fingerprint: hash of
    the rows, the task's settings and the tokenizer.
    """

    features: dict[str, Features]
    facts: dict[str, Any]
    report: dict[str, Any]
    fingerprint: str


def prepare(
    task: Task,
    dataset: Dataset,
    tokenizer: Any,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    split: Split | None = None,
    limit: Limit | None = None,
    shift: Mapping[str, ShiftSpec] | None = None,
    kind: BackboneKind = "encoder",
    room: int | None = None,
) -> Prepared:
    """The features of every split, from the cache where it has them.

    columns: what the task calls a column -> what the data calls it; shift: further test sets, which
    become the splits `shift:NAME`; kind: of the backbone that the
    features are for; room: most tokens that it can read, None where there is no bound.

    Raises DataError with the file, the row or column, and the remedy.
    """
    made = split_rows(task, dataset, columns=columns, split=split, limit=limit, shift=shift)
    return encode_splits(task, made, tokenizer, kind, room)


def split_rows(
    task: Task,
    dataset: Dataset,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    split: Split | None = None,
    limit: Limit | None = None,
    shift: Mapping[str, ShiftSpec] | None = None,
) -> Splits:
    """The rows of train, validation, test and further test sets: whole, limited, with leaks found.

    Raises DataError, see `prepare`.
    """
    split, limit = split or Split(), limit or Limit()
    loaded = {name: rows.renamed(columns or {}) for name, rows in dataset.load().items()}
    if "train" not in loaded:
        raise DataError(f"{dataset.title}: there is no train split; it has {', '.join(loaded)}")
    texts = task.text_columns(loaded["train"].column_names)
    drop = dataset.on_bad_rows == "drop"
    scanned = {name: scan_rows(rows, texts, task, drop=drop) for name, rows in loaded.items()}
    scanned |= {
        f"{SHIFT}{name}": scan_rows(one.rows(), texts, task, drop=one.source.on_bad_rows == "drop")
        for name, one in (shift or {}).items()
    }
    whole = scanned["train"]
    facts = dict(task.describe(whole.rows))
    _check_labels(scanned)
    missing = [name for name in SPLITS[1:] if name not in scanned]
    if missing:
        drawn = made_splits(whole.scan, split, missing)
        scanned |= {name: whole.select(rows) for name, rows in drawn.items()}
    scanned = {
        name: scanned[name].select(limited(scanned[name].scan, _most(limit, name), split))
        for name in (*SPLITS, *(name for name in scanned if name.startswith(SHIFT)))
    }
    leaks = find_leaks(scanned, texts)
    dropped = 0
    if dataset.drop_leaked:
        kept = clean_train(scanned)
        dropped = len(scanned["train"].rows) - len(kept)
        if not len(kept):
            raise DataError(
                f"{dataset.title}: every row of train stands in a split that is judged by too"
            )
        scanned["train"] = scanned["train"].select(kept)
    report = {
        "source": dataset.title,
        "synthetic": dataset.synthetic,
        "rows": {name: len(one.rows) for name, one in scanned.items()},
        "classes": {name: one.scan.counts() for name, one in scanned.items()},
        "made_splits": missing,
        "left_out": {name: dict(one.left_out) for name, one in scanned.items() if one.left_out},
        "leaks": [asdict(leak) for leak in leaks],
        "shared": [asdict(one) for one in find_shared(scanned, task.grouped_by)],
        "leaked_test_rows": sum(
            leak.count for leak in leaks if (leak.split, leak.other) == ("test", "train")
        ),
        "leaked_rows_dropped_from_train": dropped,
    }
    rows = {name: one.rows for name, one in scanned.items()}
    return Splits(rows, facts, report, dataset.on_bad_rows)


def encode_splits(
    task: Task,
    splits: Splits,
    tokenizer: Any,
    kind: BackboneKind = "encoder",
    room: int | None = None,
) -> Prepared:
    """The features of split rows, from the cache where it has them."""
    tokenizer_hash = tokenizer_digest(tokenizer)
    facts = splits.facts | {"kind": kind, "head": task.head_for(kind), "room": room}
    seen = {"on_bad_rows": splits.on_bad_rows}
    features = {
        name: _features(
            task, rows, facts | seen | {"split": _treated(name)}, tokenizer, tokenizer_hash
        )
        for name, rows in splits.rows.items()
    }
    for name, one in features.items():
        if not len(one):
            why = ", ".join(f"{reason}: {count}" for reason, count in one.left_out.items())
            raise DataError(
                f"{name} gives no example to learn from or to judge by ({why or 'it is empty'}); "
                "change the task's settings, or give other rows"
            )
    report = splits.report | {
        "examples": {name: len(one) for name, one in features.items()},
        "tokens": {name: len(one.tokens) for name, one in features.items()},
        "truncated": {name: one.truncated for name, one in features.items()},
        "cut": {name: dict(one.cut) for name, one in features.items() if one.cut},
        "examples_left_out": {
            name: dict(one.left_out) for name, one in features.items() if one.left_out
        },
        "noted": {name: dict(one.noted) for name, one in features.items() if one.noted},
    }
    fingerprint = digest({name: one.fingerprint for name, one in features.items()})
    return Prepared(features, facts, report, fingerprint)


def _treated(split: str) -> str:
    """A further test set is encoded and limited as test is."""
    return "test" if split.startswith(SHIFT) else split


def _most(limit: Limit, split: str) -> int | None:
    most: int | None = getattr(limit, _treated(split))
    return most


def _features(
    task: Task, rows: Rows, facts: Mapping[str, Any], tokenizer: Any, tokenizer_hash: str
) -> Features:
    read = [*facts["columns"], *task.answer_columns(rows.column_names)]
    key = digest(
        _ENCODING,
        f"{type(task).__module__}.{type(task).__name__}",
        task.model_dump(mode="json"),
        dict(facts),
        tokenizer_hash,
        rows.fingerprint(read),
    )
    form = task.form_for(facts["head"])
    write = partial(token_store.write, task.examples(rows, facts, tokenizer), form=form)
    return token_store.read(cached("tokens", key, write), key)


def _check_labels(scanned: Mapping[str, Scanned]) -> None:
    """Raises DataError for labels that train does not have: nothing could learn them."""
    known = scanned["train"].scan.counts()
    for name in scanned:
        scan = scanned[name].scan
        unknown = {label: count for label, count in scan.counts().items() if label not in known}
        if not unknown or scan.codes is None:
            continue
        label, count = next(iter(unknown.items()))
        row = int(np.flatnonzero(scan.codes == scan.names.index(label))[0])
        others = f" (and {len(unknown) - 1} other labels)" if len(unknown) > 1 else ""
        raise DataError(
            f"{scanned[name].rows.where(row)}: the label {label!r} stands {count} times in {name} "
            f"and never in train{others}. Train has {', '.join(known)}. Move some of its rows to "
            "train, or leave them out"
        )
