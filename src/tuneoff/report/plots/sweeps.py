"""What each swept setting does to quality, time and memory: a row of panels per setting, its values
from left to right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.effects import Effect, Point
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Cost(NamedTuple):
    """A cost that is drawn beside the quality. unit_of: size and name of an axis' unit."""

    key: str
    title: str
    text: Callable[[float | None], str]
    unit_of: Callable[[float], tuple[float, str]]


_COSTS = (
    _Cost("train_seconds", "training time", q.duration, q.duration_unit),
    _Cost("peak_memory_bytes", "peak memory", q.memory, q.memory_unit),
)


def draw_effects(effects: Sequence[Effect]) -> Plot | None:
    """Quality with its interval, training time and peak memory at each value; None where no
    setting was swept."""
    if not effects:
        return None
    figure = new_figure(0.4 + 1.8 * len(effects), width=7.2)
    grid = figure.subplots(len(effects), 1 + len(_COSTS), squeeze=False)
    plot = Plot(
        kind="effects",
        title="What each setting does",
        alt="; ".join(_words(effect) for effect in effects),
        figure=figure,
        note="Each row: the same method with one setting changed; its quality, the training time "
        "of one run and the peak memory of training. Bars: intervals of the quality, of test rows "
        "alone where there is one seed. Costs are measured once, with the method alone.",
    )
    for row, effect in zip(grid, effects, strict=True):
        _quality(plot, row[0], effect)
        for axes, cost in zip(row[1:], _COSTS, strict=True):
            _cost(plot, axes, effect, cost)
    return plot


def _words(effect: Effect) -> str:
    values = ", ".join(
        f"{_label(effect, point.value)}: {q.score(effect.metric, point.result.mean)}"
        + "".join(
            f", {cost.text(value)}"
            for cost in _COSTS
            if (value := point.result.cost_of(cost.key)) is not None
        )
        for point in effect.points
    )
    return f"{effect.where}, {effect.setting.replace('_', ' ')}: {values}"


def _label(effect: Effect, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if effect.setting == "model size":
        return q.count(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quality(plot: Plot, axes: Axes, effect: Effect) -> None:
    """Values stand at equal distances: a rank of 4, 8, 16 is three steps."""
    metric = effect.metric
    heights = [q.axis_value(metric, point.result.mean or 0.0) for point in effect.points]
    for place, point in enumerate(effect.points):
        for bound in [point.result.interval] if point.result.interval else []:
            ends = [q.axis_value(metric, end) for end in bound if end is not None]
            axes.plot([place] * len(ends), ends, color=SERIES[0], lw=4, alpha=0.35)
    texts = [q.score(metric, point.result.mean) for point in effect.points]
    _line(plot, axes, effect, dict(enumerate(heights)), texts)
    axes.set_ylabel(q.axis_name(metric), fontsize=7.5)
    axes.set_title(effect.where, fontsize=7.5, color=INK)
    axes.margins(x=0.2, y=0.15)


def _cost(plot: Plot, axes: Axes, effect: Effect, cost: _Cost) -> None:
    """From zero, so that heights are in proportion; nothing where it was not measured."""
    found = [point.result.cost_of(cost.key) for point in effect.points]
    known = {place: value for place, value in enumerate(found) if value is not None}
    if not known:
        axes.set_visible(False)
        return
    size, unit = cost.unit_of(max(known.values()))
    heights = {place: value / size for place, value in known.items()}
    _line(plot, axes, effect, heights, [cost.text(value) for value in found])
    axes.set_ylabel(f"{cost.title} ({unit})", fontsize=7.5)
    axes.margins(x=0.2)
    axes.set_ylim(0, max(heights.values()) * 1.25 or 1.0)


def _line(
    plot: Plot, axes: Axes, effect: Effect, heights: dict[int, float], texts: Sequence[str]
) -> None:
    """A mark at each place that has a height, joined by a thin line."""
    for place, height in heights.items():
        point: Point = effect.points[place]
        (mark,) = axes.plot([place], [height], "o", color=SERIES[0], ms=6)
        plot.tip(mark, f"{point.contest.backbone} / {point.result.method}: {texts[place]}")
    axes.plot(list(heights), list(heights.values()), color=SERIES[0], lw=0.8, alpha=0.6)
    axes.set_xticks(
        range(len(effect.points)), [_label(effect, point.value) for point in effect.points]
    )
    axes.set_xlabel(effect.setting.replace("_", " "))
    axes.grid(axis="y")
