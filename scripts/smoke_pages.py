"""What a smoke run of the published studies gave, as Markdown: a page for each study, an overview.

Our figures stand beside the published ones under the words that say why they cannot be compared.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tuneoff.report.contents import Contents, read_contents
from tuneoff.report.published import Beside, CellFigures, Figure, beside

INTRODUCTION = """\
# Smoke runs of the published studies

Every cell of every recipe, run on a CPU at `--scale smoke`: real text, a few rows, a few steps, and
small models of the published architectures with random weights. This shows that each cell runs from
its data to its figures, and how our figures stand beside the published ones. It shows nothing about
the methods and reproduces nothing: a model that knows no language answers by chance. The settings
that make a cell (method, targets, rank, quantization, precision, schedule, rate) are the published
ones; `tuneoff run NAME`, with the hub and a GPU, runs them at full size.

```sh
python scripts/smoke_studies.py --data DATA --models TOKENIZERS --pages docs/studies/smoke
```

"""
_UNPUBLISHED = ("train_seconds", "trainable_parameters")


class Ended(NamedTuple):
    """One study of a smoke run. seconds: None where it went on from an earlier start."""

    name: str
    folder: Path
    seconds: float | None
    exit_code: int


def write_pages(studies: list[Ended], target: Path, seconds: float) -> None:
    """`overview.md`, and a page for each study that has results. seconds: of the whole run."""
    target.mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    where = "Nothing ran"
    for study in studies:
        contents = read_contents(study.folder)
        found = beside(contents)
        assert found is not None, f"{study.name} publishes no figure"
        name = f"{study.name}.md"
        (target / name).write_text(_page(study.name, found), "utf-8")
        where = _where(contents)
        finished = [cell for cell in found.cells if has_result(cell)]
        time = "" if study.seconds is None else f"{study.seconds / 60:.1f}"
        rows.append(
            f"| [{study.name}]({name}) | {len(found.cells)} | {len(finished)} | {time} | "
            f"[settings, open points](../{name}) |"
        )
    told = f"{where}, {datetime.now():%Y-%m-%d}."
    table = (
        "| study | cells | with a result | minutes | recipe |\n| --- | ---: | ---: | ---: | --- |"
    )
    new = all(study.seconds is not None for study in studies)
    total = f"\n\n{seconds / 60:.1f} minutes in all." if new else ""
    text = f"{INTRODUCTION}{told}\n\n{table}\n" + "\n".join(rows) + f"{total}\n"
    (target / "overview.md").write_text(text, "utf-8")


def has_result(cell: CellFigures) -> bool:
    """Whether a figure of ours stands for its quality."""
    return any(one.ours is not None for one in cell.figures if one.split)


def _page(name: str, found: Beside) -> str:
    lines = [
        f"# {name}, smoke run",
        f"Published: {found.source}. [All smoke runs](overview.md), [the recipe](../{name}.md).",
        f"**{found.warning}** A model called small-NAME was made for this, random weights.",
        found.conditions,
        "| cell | measure | published | ours | conditions of ours |\n"
        "| --- | --- | ---: | ---: | --- |\n" + "\n".join(_rows(found)),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _rows(found: Beside) -> list[str]:
    rows = []
    for cell in found.cells:
        note = f"published: {cell.note}" if cell.note else ""
        first = (cell.title, "; ".join(filter(None, (cell.failure or cell.differs, note))))
        for figure in cell.told or _own(cell):
            published, ours = figure.text(figure.published), figure.text(figure.ours)
            title, conditions = (one.replace("|", "\\|") for one in first)
            rows.append(f"| {title} | {figure.title} | {published} | {ours} | {conditions} |")
            first = ("", "")
    return rows


def _own(cell: CellFigures) -> list[Figure]:
    """Of a cell that nobody published a figure of: the metric that judges it, and costs."""
    quality = [one for one in cell.figures if one.split and not one.of_class][:1]
    return quality + [one for name in _UNPUBLISHED if (one := cell.figure(name, ""))]


def _where(contents: Contents) -> str:
    """`Ran with tuneoff 0.1 on 2 cores`."""
    import tuneoff

    machine = contents.machine
    named = machine.get("name") or "a CPU"
    return f"Ran with tuneoff {tuneoff.__version__} on {named}, {machine.get('cores')} cores"
