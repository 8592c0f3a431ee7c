"""The verdict in the terminal: answer first, then the noise floor, then the table.

It reads well at 80 columns, without colour, and in a file: colour repeats what words say.
"""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuneoff.report import quantities as q
from tuneoff.report import summary
from tuneoff.report.contents import Answer, Contents, Contest, read_contents
from tuneoff.report.data_facts import further_sets
from tuneoff.report.published import beside

_MOST_FAILURES = 5
_PLAIN = str.maketrans("−–—…±×≈’≤", "---.~x~'<")


def print_verdict(out: Path, console: Console) -> None:
    """Prints the answer that a study's folder holds.

    Raises LedgerError when there is no verdict, or a file is damaged.
    """
    contents = read_contents(Path(out))
    for part in _beside(contents):
        _print(console, part)
    several = len(contents.contests) > 1
    for contest in contents.contests:
        for part in _contest(contest, several):
            _print(console, part)
    for line in _footer(contents):
        _print(console, line)


def _print(console: Console, part: RenderableType) -> None:
    """Prints at 100 columns at most; letters that the terminal does not know become plain ones."""
    width = min(console.width, 100)
    if console.encoding.lower().startswith("utf"):
        console.print(part, width=width, highlight=False, crop=False)
        return
    with console.capture() as capture:
        console.print(part, width=width, highlight=False, crop=False)
    text = capture.get().translate(_PLAIN)
    known = text.encode(console.encoding, errors="replace").decode(console.encoding)
    console.file.write(known)


def _contest(contest: Contest, several: bool) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if several:
        parts.append(_text(contest.title, "bold underline"))
    parts += [_text(contest.headline or "No verdict yet.", "bold green"), Text()]
    noise = _text(f"Noise floor. {summary.noise_sentence(contest)}")
    noise.stylize("bold", 0, len("Noise floor."))
    parts += [noise, Text()]
    if contest.methods:
        parts += [_table(contest), _legend(contest), Text()]
    for answer in contest.answers:
        parts.append(_answer(answer))
        if answer.needs:
            parts.append(_indented(f"needs: {answer.needs}", "dim"))
    parts += [_text(line) for line in further_sets(contest)]
    if contest.answers or contest.shift:
        parts.append(Text())
    parts += [_text(f"Warning: {warning}", "yellow") for warning in contest.warnings]
    parts += _failures(contest)
    return parts


def _beside(contents: Contents) -> list[RenderableType]:
    """Our figures beside the published ones; nothing for a study without any."""
    found = beside(contents)
    if found is None:
        return []
    parts: list[RenderableType] = [_text("Beside the published figures", "bold underline")]
    parts.append(_text(found.source, "dim"))
    if found.warning:
        parts.append(_text(found.warning, "bold yellow"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, side in (("cell", "left"), ("measure", "left"), ("published", "right")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    table.add_column("ours", justify="right", no_wrap=True)
    for cell in found.cells:
        told = [figure for figure in cell.told if not figure.of_class]
        for number, figure in enumerate(told):
            table.add_row(
                _text("" if number else cell.title),
                figure.title,
                figure.text(figure.published),
                figure.text(figure.ours),
            )
        if not told:
            table.add_row(_text(cell.title), _text("none published", "dim"), "", "")
    return [*parts, table, Text()]


def _text(words: str, style: str = "") -> Text:
    """Text on one line: what comes from a study may hold line feeds and escape codes."""
    line = " ".join(words.split())
    return Text("".join(c if c.isprintable() else "?" for c in line), style=style)


def _indented(words: str, style: str = "") -> RenderableType:
    return Padding(_text(words, style), (0, 0, 0, 2), expand=False)


def _answer(answer: Answer) -> RenderableType:
    line = Table.grid(padding=(0, 2), expand=False)
    line.add_column(width=17)
    line.add_column(overflow="fold")
    text = _text(answer.sentence or answer.method or "no answer yet")
    if answer.confidence:
        text.append(" ").append_text(_text(f"({answer.confidence} confidence)", "dim"))
    line.add_row(_text(summary.USES.get(answer.use, answer.use.replace("_", " "))), text)
    return line


def _table(contest: Contest) -> Table:
    """At 80 columns: method, quality, difference to the best, memory, time, parameters, runs."""
    percent = q.is_share(contest.metric)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold", max_width=20)
    table.add_column(
        f"{q.metric_name(contest.metric)}{' %' if percent else ''}", justify="right", max_width=11
    )
    table.add_column("interval", justify="right", no_wrap=True)
    table.add_column("vs best", justify="right", no_wrap=True)
    for name in ("memory", "time", "trainable"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("runs", justify="right", no_wrap=True)
    for result, row in zip(contest.ranked, summary.method_rows(contest), strict=True):
        versus = {"best": "best", "tied": f"={row.versus_best or '0.0'}"}.get(
            row.badge, row.versus_best
        )
        seconds = result.cost_of("train_seconds")
        table.add_row(
            _text(row.method, "bold" if row.badge else ""),
            Text(q.score(contest.metric, result.mean, unit=False)),
            Text(row.interval.replace(" to ", "–")),
            Text(versus, style="green" if row.badge else ""),
            Text(row.costs[0].text),
            Text(_clock(seconds)),
            Text(row.costs[2].text),
            Text(row.runs.replace(" of ", "/")),
        )
    return table


def _clock(seconds: float | None) -> str:
    """Shorter than in the page: `2m05s`."""
    text = q.duration(seconds)
    return re.sub(r" (h|min|s)\b ?", lambda unit: unit[1][0], text) if "min" in text else text


def _legend(contest: Contest) -> Text:
    level = round(contest.confidence_level * 100)
    unit = "percentage points" if q.is_share(contest.metric) else q.metric_name(contest.metric)
    text = f"interval: {level} %. vs best: {unit}; '=' cannot be told apart from the best."
    if contest.n_test:
        text += f" {contest.n_test:,} test rows."
    return Text(text, style="dim")


def _failures(contest: Contest) -> list[RenderableType]:
    rows = summary.failures(contest)
    if not rows:
        return []
    lines: list[RenderableType] = [
        Text(f"{len(rows)} run{'s' if len(rows) > 1 else ''} without a result", style="bold red")
    ]
    for row in rows[:_MOST_FAILURES]:
        seed = f", seed {row.seed}" if row.seed else ""
        lines.append(_indented(f"{row.method}{seed} ({row.status}): {row.reason}"))
    if len(rows) > _MOST_FAILURES:
        more = len(rows) - _MOST_FAILURES
        lines.append(_indented(f"and {more} more, all in report.html"))
    return [Group(*lines), Text()]


def _footer(contents: Contents) -> list[RenderableType]:
    """How far the study is, and where its report lies, on a line of its own to copy from."""
    progress = summary.progress(contents)
    page = contents.folder / "report.html"
    lines: list[RenderableType] = [_text(f"{progress[0].upper()}{progress[1:]}.", "dim")]
    if page.exists():
        lines.append(Text(str(page), style="dim", overflow="fold"))
    return lines
