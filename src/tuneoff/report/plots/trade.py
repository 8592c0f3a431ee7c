"""Quality against one cost, with the Pareto front: what no other method beats on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, MethodResult
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import MUTED, Look, new_figure, plain_log_axis, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_PLACES = ((8, 0), (-8, 0), (0, 9), (0, -9), (7, 8), (-7, 8), (7, -8), (-7, -8), (0, 19), (0, -19))
"""Where a name may stand, in points from its mark, best first."""


def draw_trade(contest: Contest, looks: Mapping[str, Look], key: str) -> Plot | None:
    """`key`: `peak_memory_bytes` or `train_seconds`; None when no method has both figures."""
    text, unit_of, name = {
        "peak_memory_bytes": (q.memory, q.memory_unit, "peak memory of training"),
        "train_seconds": (q.duration, q.duration_unit, "training time of one run"),
    }[key]
    points = [
        (cost, result)
        for result in contest.ranked
        if result.mean is not None and (cost := result.cost_of(key)) is not None and cost > 0
    ]
    if not points:
        return None
    metric = contest.metric
    front = [result.method for _, result in points if result.on_front.get(key)]
    figure = new_figure(3.3)
    axes = figure.add_subplot()
    plot = Plot(
        kind="quality_memory" if key == "peak_memory_bytes" else "quality_time",
        title=f"Quality against {name}",
        alt=f"{q.axis_name(metric)} against {name}. "
        + "; ".join(f"{r.method} {q.score(metric, r.mean)} at {text(c)}" for c, r in points)
        + f". On the front: {', '.join(front) or 'none'}.",
        figure=figure,
        note="Better is up and to the left. The line joins the methods that no other beats on "
        "both; vertical bars are intervals.",
    )
    costs = [cost for cost, _ in points]
    size, unit = unit_of(max(costs))
    spots = [
        _draw_point(plot, contest, cost / size, result, looks[result.method], text(cost))
        for cost, result in points
    ]
    axes.margins(x=0.16, y=0.12)
    if max(costs) / min(costs) > 5:
        plain_log_axis(axes, "x")
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    on_front = sorted((s for s in spots if s.result.on_front.get(key)), key=lambda s: s.x)
    _draw_front(axes, on_front)
    axes.set_xlabel(f"{name} ({unit})")
    axes.set_ylabel(q.axis_name(metric))
    axes.grid()
    if not contest.higher_is_better:
        axes.invert_yaxis()
    _name_points(axes, spots, on_front)
    return plot


class _Spot(NamedTuple):
    """Where a method stands, in the axes' units; `low` and `high` bound its interval."""

    x: float
    y: float
    low: float
    high: float
    result: MethodResult


def _draw_point(
    plot: Plot, contest: Contest, x: float, result: MethodResult, look: Look, cost_text: str
) -> _Spot:
    axes, metric = plot.figure.axes[0], contest.metric
    y = low = high = q.axis_value(metric, result.mean or 0)
    if q.score_interval(metric, result.interval):
        low, high = (q.axis_value(metric, value or 0) for value in result.interval or ())
        axes.plot([x, x], [low, high], color=look.colour, lw=3, alpha=0.3, zorder=2)
    (mark,) = axes.plot([x], [y], look.marker, color=look.colour, ms=8, zorder=3)
    plot.tip(mark, f"{result.method}: {q.score(metric, result.mean)} at {cost_text}")
    return _Spot(x, y, low, high, result)


def _draw_front(axes: Axes, spots: Sequence[_Spot]) -> None:
    """A staircase: paying more without reaching the next method buys nothing."""
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    axes.step(xs, ys, where="post", color=MUTED, lw=1, ls=(0, (4, 2)), zorder=1)


def _name_points(axes: Axes, spots: Sequence[_Spot], front: Sequence[_Spot]) -> None:
    """Writes each name where it covers least: other names and marks count most, lines little."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    place = axes.transData.transform
    marks = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in (place(s[:2]) for s in spots)]
    lines = [Bbox([place((s.x, s.low)), place((s.x, s.high))]) for s in spots]
    for one, next_one in pairwise(front):
        corner = place((next_one.x, one.y))
        lines += [Bbox([place(one[:2]), corner]), Bbox([corner, place(next_one[:2])])]
    frame = axes.get_window_extent(renderer)
    for spot in spots:
        label = axes.annotate(
            short(spot.result.method, 18),
            spot[:2],
            xytext=(0, 0),
            textcoords="offset points",
            zorder=4,
            in_layout=False,
        )
        costs: list[tuple[float, int]] = []
        for index, (dx, dy) in enumerate(_PLACES):
            _put(label, dx, dy)
            box = label.get_window_extent(renderer)
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 + 4 or box.y0 < frame.y0
            cover = 9 * box.count_overlaps(marks) + 2 * box.count_overlaps(lines)
            costs.append((cover + 9 * outside + 0.1 * index, index))
        _put(label, *_PLACES[min(costs)[1]])
        marks.append(label.get_window_extent(renderer))


def _put(label: Annotation, dx: float, dy: float) -> None:
    label.set(
        position=(dx, dy),
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
    )
