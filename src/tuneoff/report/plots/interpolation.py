"""Quality between the original and the trained model: a panel per method, the others grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuneoff.report import quantities as q
from tuneoff.report.between import Between, between, metric_between
from tuneoff.report.contents import Contest
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import GRID, Look, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 2


def draw_interpolation(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """None where the study does not ask for it."""
    lines = between(contest)
    if not lines:
        return None
    metric, level = metric_between(contest), round(contest.confidence_level * 100)
    rows = -(-len(lines) // _ACROSS)
    figure = new_figure(0.5 + 1.5 * rows)
    grid = figure.subplots(rows, _ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    plot = Plot(
        kind="interpolation",
        title=f"From the original to the trained model: {q.metric_name(metric)}",
        alt=f"{q.axis_name(metric)} on the test split by place. "
        + "; ".join(_words(line, metric) for line in lines),
        figure=figure,
        note="0: the original model with the trained head; 1: the trained model. Bars: "
        f"{level} % intervals over seeds, where there are several. Grey: the other methods.",
    )
    for axes, line in zip(grid, lines, strict=False):
        _panel(plot, axes, line, lines, looks[line.method], metric)
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(lines) - _ACROSS) : len(lines)]:
        axes.set_xlabel("alpha")
        axes.tick_params(labelbottom=True)
    figure.supylabel(q.axis_name(metric), fontsize=8.5)
    return plot


def _words(line: Between, metric: str) -> str:
    places = ", ".join(f"{place.alpha:g}: {q.score(metric, place.mean)}" for place in line.places)
    return f"{line.method} {places}"


def _columns(line: Between, metric: str) -> tuple[list[float], list[float]]:
    return (
        [place.alpha for place in line.places],
        [q.axis_value(metric, place.mean) for place in line.places],
    )


def _panel(
    plot: Plot, axes: Axes, line: Between, lines: Sequence[Between], look: Look, metric: str
) -> None:
    for other in lines:
        if other is not line:
            axes.plot(*_columns(other, metric), color=GRID, lw=0.9, zorder=1)
    axes.plot(*_columns(line, metric), color=look.colour, lw=1.5)
    for place in line.places:
        text = f"{line.method} at {place.alpha:g}: {q.score(metric, place.mean)}"
        if place.interval:
            ends = [q.axis_value(metric, end) for end in place.interval]
            axes.plot([place.alpha] * 2, ends, color=look.colour, lw=4, alpha=0.35)
            text += f", {q.score_interval(metric, place.interval)}"
        height = q.axis_value(metric, place.mean)
        (mark,) = axes.plot([place.alpha], [height], look.marker, color=look.colour, ms=5)
        plot.tip(mark, f"{text}, {place.seeds} run{'s' * (place.seeds > 1)}")
    axes.set_title(short(line.method, 26), fontweight="bold")
    axes.margins(x=0.08, y=0.12)
    axes.grid(axis="y")
