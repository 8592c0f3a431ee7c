"""What each swept setting does to the quality: one panel per setting, values from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuneoff.report import quantities as q
from tuneoff.report.effects import Effect
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 2


def draw_effects(effects: Sequence[Effect]) -> Plot | None:
    """Mean and interval at each value; None where no setting was swept."""
    if not effects:
        return None
    rows = -(-len(effects) // _ACROSS)
    figure = new_figure(0.4 + 1.9 * rows, width=7.2)
    grid = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
    plot = Plot(
        kind="effects",
        title="What each setting does",
        alt="; ".join(_words(effect) for effect in effects),
        figure=figure,
        note="Each panel: the same method with one setting changed. Bars: intervals, of test rows "
        "alone where there is one seed.",
    )
    for axes, effect in zip(grid, effects, strict=False):
        _panel(plot, axes, effect)
    for axes in grid[len(effects) :]:
        axes.set_visible(False)
    return plot


def _words(effect: Effect) -> str:
    values = ", ".join(
        f"{_label(effect, point.value)}: {q.score(effect.metric, point.result.mean)}"
        for point in effect.points
    )
    return f"{effect.where}, {effect.setting.replace('_', ' ')}: {values}"


def _label(effect: Effect, value: Any) -> str:
    if value is None:
        return "none"
    if effect.setting == "model size":
        return q.count(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _panel(plot: Plot, axes: Axes, effect: Effect) -> None:
    """Values stand at equal distances: a rank of 4, 8, 16 is three steps."""
    metric = effect.metric
    for place, point in enumerate(effect.points):
        result = point.result
        assert result.mean is not None
        for bound in [result.interval] if result.interval else []:
            ends = [q.axis_value(metric, end) for end in bound if end is not None]
            axes.plot([place] * len(ends), ends, color=SERIES[0], lw=4, alpha=0.35)
        (mark,) = axes.plot(
            [place], [q.axis_value(metric, result.mean)], "o", color=SERIES[0], ms=6
        )
        text = q.score(metric, result.mean)
        plot.tip(mark, f"{point.contest.backbone} / {result.method}: {text}")
    means = [q.axis_value(metric, point.result.mean or 0.0) for point in effect.points]
    axes.plot(range(len(means)), means, color=SERIES[0], lw=0.8, alpha=0.6)
    labels = [_label(effect, point.value) for point in effect.points]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(effect.setting.replace("_", " "))
    axes.set_ylabel(q.axis_name(metric), fontsize=7.5)
    axes.set_title(effect.where, fontsize=7.5, color=INK)
    axes.margins(x=0.2, y=0.15)
    axes.grid(axis="y")
