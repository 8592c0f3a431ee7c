"""What `tuneoff init` says about a data file, and the study that it writes for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tuneoff.init import Found

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


def study_text(found: Found, model: str, folder: Path, schema: str | None = None) -> str:
    """The study as commented YAML; paths are written relative to `folder` where they can be."""
    files = "\n".join(
        f"      {split}: {_quoted(_relative(path, folder))}" for split, path in found.files.items()
    )
    columns = _columns_line(found)
    made = [split for split in ("validation", "test") if split not in found.files]
    split = f"\n      split: {{{', '.join(f'{name}: 0.1' for name in made)}}}" if made else ""
    bad = "\n      on_bad_rows: drop  # some rows have no text or no label" if found.empty else ""
    metric = "macro_f1" if found.imbalance >= _IMBALANCED else "accuracy"
    hint = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    return _TEMPLATE.format(
        hint=hint,
        name=found.name,
        model=_quoted(model),
        dataset=found.dataset,
        files=files,
        columns=columns,
        split=split,
        bad=bad,
        metric=metric,
        max_length=found.max_length,
        characters=found.lengths[1],
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
    task: text_classification
    max_length: {max_length}  # tokens; 95 % of the texts have at most {characters} characters
    metric: {metric}  # what methods are compared by
    data:
      dataset: {dataset}
{files}{columns}{split}{bad}

methods:
  # `tuneoff list methods` names all, `tuneoff show lora` explains one.
  # Each brings its own sourced defaults; to change some: `- lora: {{rank: 16}}`.
  - full
  - last_layer
  - bitfit
  - lora
  - ia3
  - adapter

seeds: 3  # more seeds tell closer methods apart

training:
  epochs: 3
  batch_size: 16

tuning:
  probes: 3  # learning rates tried per method, on the validation split; 0 takes the defaults
"""
