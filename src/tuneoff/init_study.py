"""What `tuneoff init` says about a data file, and the study that it writes for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuneoff.init import Found, name_of
from tuneoff.init_answers import Answered, metric_of, model_facts, task_lines

_METHODS = ("full", "last_layer", "bitfit", "lora", "ia3", "adapter")
_IMBALANCED = 3.0  # the largest class over the smallest, from where accuracy alone misleads


def findings(found: Found) -> list[str]:
    """What was seen, in sentences for people."""
    share = ", ".join(f"{name} {count}" for name, count in list(found.classes.items())[:8])
    more = f", and {len(found.classes) - 8} more" if len(found.classes) > 8 else ""
    counted = f"{found.rows} rows" if found.whole else f"{found.rows} rows (the first were read)"
    kind = "pair of texts" if found.pair else "text"
    lines = [
        f"{found.files['train']}: {counted}",
        f"{kind}: {' + '.join(found.text)}; label: {found.label}"
        + (f"; not used: {', '.join(found.others)}" if found.others else ""),
        f"{len(found.classes)} classes: {share}{more}",
        "characters per text: {} in the middle, 95 % have at most {}, most {}".format(
            *found.lengths
        ),
    ]
    for split in ("validation", "test"):
        beside = found.files.get(split)
        lines.append(f"{split}: {beside.name if beside else 'made from train, stratified'}")
    return lines + warnings(found)


def warnings(found: Found) -> list[str]:
    """What a person should know before believing any score."""
    lines = []
    if found.imbalance >= _IMBALANCED:
        lines.append(
            f"warning: the largest class has {found.imbalance:.0f} times the smallest's rows; "
            "methods are compared by macro F1"
        )
    rare = [name for name, count in found.classes.items() if count < 10]
    if rare:
        lines.append(f"warning: {len(rare)} classes have fewer than 10 rows: {', '.join(rare[:5])}")
    if found.repeated:
        lines.append(
            f"warning: {found.repeated} rows repeat a text that stood before; splits that tuneoff "
            "makes keep equal texts together"
        )
    if found.contradictions:
        lines.append(f"warning: {found.contradictions} texts stand with different labels")
    if found.empty:
        lines.append(
            f"warning: {found.empty} rows have no text or no label; they are left out "
            "(on_bad_rows: drop)"
        )
    if found.rows < 200:
        lines.append("warning: few rows: differences between methods will hardly show")
    return lines


def answered_study(found: Answered, model: str, folder: Path, schema: str | None = None) -> str:
    """The study of a task that answers in text, as `study_text`."""
    renamed = {key: name for key, name in found.columns.items() if key != name}
    if found.columns.get("answers") == "answer":
        del renamed["answers"]
    columns = ", ".join(f"{key}: {_quoted(name)}" for key, name in renamed.items())
    drop = found.empty or found.absent
    facts = model_facts(model)
    return _filled(
        schema=schema,
        name=name_of(found.files["train"]),
        model=model,
        task=found.task,
        settings=task_lines(found, model),
        metric=metric_of(found.task),
        dataset=found.dataset,
        files=found.files,
        folder=folder,
        columns=f"\n      columns: {{{columns}}}" if columns else "",
        bad="\n      on_bad_rows: drop  # some rows lack a text or an answer" if drop else "",
        methods=[name for name in _METHODS if name != "bitfit" or facts.get("biases", True)],
    )


def study_text(found: Found, model: str, folder: Path, schema: str | None = None) -> str:
    """The study as commented YAML; paths are written relative to `folder` where they can be."""
    bad = "\n      on_bad_rows: drop  # some rows have no text or no label" if found.empty else ""
    metric = "macro_f1" if found.imbalance >= _IMBALANCED else "accuracy"
    return _filled(
        schema=schema,
        name=found.name,
        model=model,
        task="text_classification",
        settings=[
            f"max_length: {found.max_length}  # tokens; 95 % of the texts have at most "
            f"{found.lengths[1]} characters"
        ],
        metric=metric,
        dataset=found.dataset,
        files=found.files,
        folder=folder,
        columns=_columns_line(found),
        bad=bad,
        methods=_METHODS,
    )


def _filled(
    *,
    schema: str | None,
    name: str,
    model: str,
    settings: Sequence[str],
    files: Mapping[str, Path],
    folder: Path,
    methods: Sequence[str],
    **others: str,
) -> str:
    """The template with what was found."""
    made = [split for split in ("validation", "test") if split not in files]
    return _TEMPLATE.format(
        hint=f"# yaml-language-server: $schema={schema}\n" if schema else "",
        name=name,
        model=_quoted(model),
        settings="\n".join(f"    {line}" for line in settings),
        files="\n".join(
            f"      {split}: {_quoted(_relative(path, folder))}" for split, path in files.items()
        ),
        split=f"\n      split: {{{', '.join(f'{one}: 0.1' for one in made)}}}" if made else "",
        methods="\n".join(f"  - {method}" for method in methods),
        **others,
    )


def _columns_line(found: Found) -> str:
    names = [_quoted(name) for name in found.text]
    joined = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    texts = {"text": names[0], "text_pair": names[1]} if found.pair else {"text": joined}
    columns = texts | {"label": _quoted(found.label)}
    written = [f"{key}: {name}" for key, name in columns.items() if key != name]
    return f"\n      columns: {{{', '.join(written)}}}" if written else ""


def _relative(path: Path, folder: Path) -> str:
    path, folder = path.absolute(), folder.absolute()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _quoted(text: str) -> str:
    """Text as YAML: plain where that is safe, else quoted as JSON is."""
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text)
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return text if plain and text.lower() not in words else json.dumps(text, ensure_ascii=False)


_TEMPLATE = """{hint}# Written by `tuneoff init`; everything in it may be changed.
#   tuneoff plan study.yaml    what will run, how long it takes
#   tuneoff run study.yaml     train, compare, report
name: {name}

backbones:
  # A built-in name, a folder in Hugging Face layout, or a name on the hub. Several may compete.
  - {model}

tasks:
  - name: {name}
    task: {task}
{settings}
    metric: {metric}  # what methods are compared by
    data:
      dataset: {dataset}
{files}{columns}{split}{bad}

methods:
  # `tuneoff list methods` names all, `tuneoff show lora` explains one.
  # Each brings its own sourced defaults; to change some: `- lora: {{rank: 16}}`.
{methods}

seeds: 3  # more seeds tell closer methods apart

training:
  epochs: 3
  batch_size: 16

tuning:
  probes: 3  # learning rates tried per method, on the validation split; 0 takes the defaults
"""
