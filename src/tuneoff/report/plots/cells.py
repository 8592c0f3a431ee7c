"""Over all cells of a study: one drawing of every measure, and a bar chart for each that it asks
for. What is published stands beside what we measured.

Cells of different backbones and tasks share an axis only where the measure is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuneoff.report import quantities as q
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, MUTED, SERIES, new_figure, short
from tuneoff.report.published import Beside, CellFigures, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _THEIRS = SERIES[0], SERIES[1]
_ALWAYS = ("train_seconds", "peak_memory_bytes", "trainable_parameters")
_LOG_FROM = 12
"""A span of so many times is drawn on a log axis: small values would vanish."""
_CHART_TITLES = {
    "train_seconds": "Training time of one run",
    "peak_memory_bytes": "Peak memory of training",
    "trainable_parameters": "Trainable parameters",
}


def draw_comparison(cells: Sequence[CellFigures], found: Beside | None) -> Plot | None:
    """Every cell on every measure: a column for each measure, a line for each cell. found: where
    published figures stand among them."""
    measures = _measures(cells)
    if not measures:
        return None
    figure = new_figure(1.0 + 0.19 * len(cells), width=2.2 + 1.05 * len(measures))
    axes_row = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    plot = Plot(
        kind="cells",
        title="All cells on all measures",
        alt=f"{len(cells)} cells on {', '.join(title for _, _, title in measures)}; the figures "
        f"stand in the {'table above' if found else 'tables below'}",
        figure=figure,
        note=f"● ours, ○ published.{_beware(found)}" if found else "",
    )
    for axes, (name, split, title) in zip(axes_row, measures, strict=True):
        figures = [cell.figure(name, split) for cell in cells]
        _axis(axes, title, [one for one in figures if one])
        for row, (cell, one) in enumerate(zip(cells, figures, strict=True)):
            if one is None:
                continue
            for value, colour, face, who in (
                (one.published, _THEIRS, "none", "published"),
                (one.ours, _OURS, _OURS, "ours"),
            ):
                if value is not None:
                    (mark,) = axes.plot([value], [row], "o", mec=colour, mfc=face, ms=5)
                    plot.tip(mark, f"{cell.title}: {one.title} {one.text(value)} ({who})")
    first = axes_row[0]
    first.set_yticks(range(len(cells)), [short(cell.title, 44) for cell in cells])
    first.set_ylim(len(cells) - 0.4, -0.6)
    return plot


def draw_chart(found: Beside, chart: str) -> list[Plot]:
    """A bar for each cell, and one for what is published; for quality a plot for each metric, the
    most frequent first. Empty when no cell has a figure."""
    pairs = [(cell, one) for cell in found.cells if (one := _charted(cell, chart))]
    if chart != "quality":
        return [_draw_chart(found, _CHART_TITLES[chart], pairs, chart)] if pairs else []
    names = [one.name for _, one in pairs]
    plots: list[Plot] = []
    for name in sorted(dict.fromkeys(names), key=names.count, reverse=True):
        metric = q.metric_name(name)
        kind = f"{chart}-{name}" if plots else chart
        same = [(cell, one) for cell, one in pairs if one.name == name]
        plots.append(_draw_chart(found, f"{metric[:1].upper()}{metric[1:]}", same, kind))
    return plots


def _draw_chart(
    found: Beside, title: str, pairs: Sequence[tuple[CellFigures, Figure]], kind: str
) -> Plot:
    figure = new_figure(0.5 + 0.36 * len(pairs))
    axes = figure.add_subplot()
    plot = Plot(
        kind=f"cells-{kind.replace('_', '-')}",
        title=f"{title}, ours and published",
        alt=f"{title} of {len(pairs)} cells: "
        + "; ".join(f"{c.title} {f.text(f.ours)} ({f.text(f.published)})" for c, f in pairs),
        figure=figure,
        note=f"Filled: ours; outlined: published.{_beware(found)}",
    )
    values = [v for _, f in pairs for v in (f.ours, f.published) if v]
    wide = bool(values) and max(values) / min(values) > _LOG_FROM
    axes.set_xscale("log" if wide else "linear")
    for row, (cell, one) in enumerate(pairs):
        bars = ((one.ours, row - 0.18, _OURS, _OURS), (one.published, row + 0.18, "none", _THEIRS))
        for value, place, face, edge in bars:
            if not value:
                continue
            if wide:  # a bar's length means nothing on a log axis; a place does
                axes.plot([min(values) / 4, value], [place, place], color=edge, lw=1.2, alpha=0.6)
                (mark,) = axes.plot([value], [place], "o", mec=edge, mfc=face, ms=6)
            else:
                (mark,) = axes.barh([place], [value], height=0.32, facecolor=face, edgecolor=edge)
            plot.tip(mark, f"{cell.title}: {one.text(value)}")
            axes.annotate(
                one.text(value), (value, place), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=7,
            )  # fmt: skip
    if values:
        low, high = min(values) / 4 if wide else 0.0, max(values)
        axes.set_xlim(low, high * (high / low) ** 0.3 if wide else high * 1.3)
    axes.set_yticks(range(len(pairs)), [short(cell.title, 30) for cell, _ in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.minorticks_off()
    return plot


def _beware(found: Beside) -> str:
    return " Not a reproduction; the reasons stand above." if found.warning else ""


def _charted(cell: CellFigures, chart: str) -> Figure | None:
    """The figure of a cell that a chart shows; None where nobody has one."""
    if chart == "quality":
        one = next((f for f in cell.figures if f.split and not f.of_class), None)
    else:
        one = cell.figure(chart, "")
    return one if one and (one.ours is not None or one.published is not None) else None


def _measures(cells: Sequence[CellFigures]) -> list[tuple[str, str, str]]:
    """Name, split and title of what is drawn: published metrics, each cell's first, and costs."""
    found: dict[tuple[str, str], str] = {}
    for cell in cells:
        quality = [one for one in cell.figures if one.split and not one.of_class]
        for number, one in enumerate(quality):
            if number == 0 or one.published is not None or one.name == "macro_f1":
                found.setdefault((one.name, one.split), one.title)
    for name in _ALWAYS:
        costs = [cell.figure(name, "") for cell in cells]
        titles = [cost.title for cost in costs if cost and (cost.ours or cost.published)]
        if titles:
            found[(name, "")] = titles[0]
    return [(name, split, title) for (name, split), title in found.items()]


def _axis(axes: Axes, title: str, figures: Sequence[Figure]) -> None:
    """A narrow column: its title on top, light lines, the least and the greatest value below."""
    values = [v for one in figures for v in (one.published, one.ours) if v is not None]
    low, high = min(values, default=0.0), max(values, default=0.0)
    axes.set_title(title.replace(" ", "\n", 1), fontsize=7.5, color=INK)
    axes.margins(x=0.18)
    if low > 0 and high / low > _LOG_FROM:
        axes.set_xscale("log")
    ticks = [low, high] if low < high else [low]
    axes.set_xticks(ticks, [figures[0].text(value) if values else "" for value in ticks])
    axes.grid(visible=True, axis="both")
    axes.tick_params(axis="both", length=0, labelsize=6, labelcolor=MUTED)
    axes.minorticks_off()
    if len(ticks) > 1:
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
