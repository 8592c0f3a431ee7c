"""Looks at a data file whose rows are answered in text: questions about contexts, documents with
summaries, instructions.

    found = look_for_answers(Path("train-v1.1.json"))   # None where rows have a label, or nothing

What it goes by are the names of columns, and the form of SQuAD's own JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneoff import registry
from tuneoff.backbones.names import folder_of
from tuneoff.errors import DataError
from tuneoff.init import CHARACTERS_PER_TOKEN, LABELS, columns_of, siblings

_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "question_answering": {
        "question": ("question",),
        "context": ("context", "passage", "paragraph"),
        "answers": ("answers", "answer"),
    },
    "instruction": {
        "instruction": ("instruction",),
        "output": ("output", "response", "completion"),
    },
    "summarization": {
        "text": ("document", "article", "text", "content", "body"),
        "summary": ("summary", "highlights", "abstract"),
    },
}
"""Task -> its column -> what data calls it."""
_OPTIONAL = {"instruction": {"input": ("input", "context")}}
_NO_BIASES = ("t5", "mt5", "umt5", "llama", "mistral", "gemma")


@dataclass(frozen=True)
class Answered:
    """What was seen. columns: task's name -> data's; lengths: characters of each, at 95 % of the
    rows; empty: rows without a text or an answer; absent: of the answers looked at, those that do
    not stand in their context."""

    files: dict[str, Path]
    dataset: str
    task: str
    rows: int
    whole: bool
    columns: dict[str, str]
    lengths: dict[str, int]
    empty: int
    absent: int = 0
    others: tuple[str, ...] = field(default=())

    def tokens(self, *names: str) -> int:
        """Tokens that hold 95 % of the texts of some columns."""
        return int(sum(self.lengths[name] for name in names) / CHARACTERS_PER_TOKEN) + 4


def look_for_answers(file: Path) -> Answered | None:
    """What stands in a file of questions, summaries or instructions; None for another one.

    Raises DataError when the file cannot be read.
    """
    dataset = _dataset(file)
    if dataset is None:
        return None
    rows = registry.get("datasets", dataset)(train=file).load()["train"]
    names = {name.strip().lower(): name for name in rows.column_names}
    known = _known(names)
    if known is None or (known[0] == "summarization" and LABELS & names.keys()):
        return None  # reviews have summaries too, and stars
    task, columns = known
    values = columns_of(rows)
    seen = len(next(iter(values.values()), []))
    if not seen:
        raise DataError(f"{file}: there are no rows")
    texts = {name: [_text(value) for value in values[column]] for name, column in columns.items()}
    needed, used = _COLUMNS[task], {*columns.values(), names.get("answer_start")}
    empty = sum(not all(row) for row in zip(*(texts[name] for name in needed), strict=True))
    absent = 0
    if task == "question_answering":
        pairs = zip(texts["context"], texts["answers"], strict=True)
        absent = sum(bool(answer) and answer not in context for context, answer in pairs)
    return Answered(
        files={"train": file, **siblings(file)},
        dataset=dataset,
        task=task,
        rows=len(rows),
        whole=seen == len(rows),
        columns=columns,
        lengths={name: _long(values) for name, values in texts.items()},
        empty=empty,
        absent=absent,
        others=tuple(name for name in rows.column_names if name not in used),
    )


def answered_findings(found: Answered) -> list[str]:
    """What was seen, in sentences for people."""
    read = "" if found.whole else " (the first were read)"
    what = ", ".join(
        name if name == column else f"{name}: {column}" for name, column in found.columns.items()
    )
    lines = [
        f"{found.files['train']}: {found.rows} rows{read}",
        f"task: {found.task}; {what}"
        + (f"; not used: {', '.join(found.others)}" if found.others else ""),
        "characters, 95 % have at most: "
        + ", ".join(f"{name} {length}" for name, length in found.lengths.items()),
    ]
    for split in ("validation", "test"):
        beside = found.files.get(split)
        lines.append(f"{split}: {beside.name if beside else 'made from train'}")
    for count, why in (
        (found.empty, "lack a text or an answer"),
        (found.absent, "have an answer that does not stand in the context"),
    ):
        if count:
            lines.append(f"warning: {count} rows {why}; they are left out (on_bad_rows: drop)")
    if found.rows < 200:
        lines.append("warning: few rows: differences between methods will hardly show")
    return lines


def task_lines(found: Answered, model: str) -> list[str]:
    """The task's settings in a study, as YAML, for a model's room."""
    room = model_facts(model).get("room")
    if found.task == "question_answering":
        length = _fitting(found.tokens("question", "context"), min(384, room or 384))
        return [
            f"max_length: {length}  # tokens of a window; longer contexts are cut into several",
            f"doc_stride: {length // 3}  # tokens that neighbouring windows share",
        ]
    asked, said = (
        ("text", "summary") if found.task == "summarization" else ("instruction", "output")
    )
    inputs = [name for name in (asked, "input") if name in found.lengths]
    output = _fitting(found.tokens(said), min(256, (room or 512) // 2))
    longest = 512 if room is None else min(512, room)
    if model_facts(model).get("decoder") and room is not None:
        longest = min(longest, room - output + 1)  # prompt and answer stand in one text
    template = 40 if found.task == "instruction" else 0
    return [
        f"max_input_length: {_fitting(found.tokens(*inputs) + template, longest)}"
        "  # tokens; longer ones are cut or left out, and counted",
        f"max_output_length: {output}",
    ]


def metric_of(task: str) -> str:
    """What methods are compared by."""
    metrics: Sequence[str] = registry.get("tasks", task).metrics
    return metrics[0]


def model_facts(model: str) -> Mapping[str, Any]:
    """room: tokens that a model reads at most; decoder: whether it is one; biases: whether it has
    any. Nothing of a model that is not here."""
    from types import SimpleNamespace

    from tuneoff.backbones.kinds import kind_of_config, positions_of

    folder = folder_of(model)
    if folder is None or not (folder / "config.json").is_file():
        return {}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if "n_positions" in config and config.get("model_type") not in _NO_BIASES:
        config.setdefault("max_position_embeddings", config["n_positions"])
    given = SimpleNamespace(**config)
    return {
        "room": positions_of(given),
        "decoder": kind_of_config(given) == "decoder",
        "biases": config.get("model_type") not in _NO_BIASES,
    }


def _dataset(file: Path) -> str | None:
    """The part that reads the file; None where its ending tells nothing."""
    ending = file.suffix.lstrip(".").lower()
    if not file.is_file() or ending not in ("csv", "tsv", "json", "jsonl", "parquet"):
        return None
    if ending == "json" and _is_squad(file):
        return "squad"
    return ending


def _is_squad(file: Path) -> bool:
    """Whether a JSON file is SQuAD's, `{"data": [{"paragraphs": ...}]}`, by its beginning."""
    with file.open(encoding="utf-8", errors="replace") as text:
        begin = text.read(4000)
    return begin.lstrip().startswith("{") and '"paragraphs"' in begin and '"data"' in begin


def _known(names: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """The task whose columns are there, and what the data calls them."""
    for task, wanted in _COLUMNS.items():
        found = {
            ours: next((names[name] for name in theirs if name in names), None)
            for ours, theirs in wanted.items()
        }
        if any(column is None for column in found.values()):
            continue
        for ours, theirs in _OPTIONAL.get(task, {}).items():
            found[ours] = next((names[name] for name in theirs if name in names), None)
        return task, {ours: column for ours, column in found.items() if column is not None}
    return None


def _text(value: Any) -> str:
    """A cell as text; of answers the first."""
    if isinstance(value, Mapping | list | tuple):
        from tuneoff.data.span_answers import answers_of

        answers = answers_of({"answers": value})
        return answers[0].text if answers else ""
    return "" if value is None else str(value).strip()


def _long(values: Sequence[str]) -> int:
    """Characters that 95 % of the texts have at most."""
    sizes = sorted(map(len, values))
    return sizes[int(0.95 * (len(sizes) - 1))]


def _fitting(tokens: int, most: int) -> int:
    """A power of two that holds so many tokens, at most `most`."""
    return next((size for size in (16, 32, 64, 128, 256, 512) if tokens <= size <= most), most)
