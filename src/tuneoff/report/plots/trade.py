"""Quality against one cost, with the Pareto front: what no other method beats on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, MethodResult
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import MUTED, Look, new_figure, plain_log_axis, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_PLACES = ((8, 0), (-8, 0), (0, 9), (0, -9), (7, 8), (-7, 8), (7, -8), (-7, -8), (0, 19), (0, -19))
"""Where a name may stand, in points from its mark, best first."""


def draw_trade(contest: Contest, looks: Mapping[str, Look], key: str) -> Plot | None:
    """`key`: `peak_memory_bytes` or `train_seconds`; None when no method has both figures."""
    text, name = {
        "peak_memory_bytes": (q.memory, "peak memory of training"),
        "train_seconds": (q.duration, "training time of one run"),
    }[key]
    points = [
        (cost, result)
        for result in contest.ranked
        if result.mean is not None and (cost := result.cost_of(key)) is not None and cost > 0
    ]
    if not points:
        return None
    metric = contest.metric
    front = [(cost, result) for cost, result in points if result.on_front.get(key)]
    figure = new_figure(3.3)
    axes = figure.add_subplot()
    plot = Plot(
        kind="quality_memory" if key == "peak_memory_bytes" else "quality_time",
        title=f"Quality against {name}",
        alt=f"{q.axis_name(metric)} against {name}. "
        + "; ".join(f"{r.method} {q.score(metric, r.mean)} at {text(c)}" for c, r in points)
        + f". On the front: {', '.join(r.method for _, r in sorted(front, key=_cost)) or 'none'}.",
        figure=figure,
        note="Better is up and to the left. The line joins the methods that no other beats on both; "
        "vertical bars are intervals.",
    )
    for cost, result in points:
        _draw_point(plot, contest, cost, result, looks[result.method], text(cost))
    costs = [cost for cost, _ in points]
    axes.margins(x=0.16, y=0.12)
    if max(costs) / min(costs) > 5:
        plain_log_axis(axes, "x")
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: text(value) if value > 0 else "0")
    _draw_front(axes, contest, front)
    axes.set_xlabel(name)
    axes.set_ylabel(q.axis_name(metric))
    axes.grid()
    if not contest.higher_is_better:
        axes.invert_yaxis()
    _name_points(axes, contest, points)
    return plot


def _cost(point: tuple[float, MethodResult]) -> float:
    return point[0]


def _draw_point(
    plot: Plot, contest: Contest, cost: float, result: MethodResult, look: Look, cost_text: str
) -> None:
    axes, metric = plot.figure.axes[0], contest.metric
    if q.score_interval(metric, result.interval):
        low, high = (q.axis_value(metric, value or 0) for value in result.interval or ())
        axes.plot([cost, cost], [low, high], color=look.colour, lw=3, alpha=0.3, zorder=2)
    value = q.axis_value(metric, result.mean or 0)
    (mark,) = axes.plot([cost], [value], look.marker, color=look.colour, ms=8, zorder=3)
    plot.tip(mark, f"{result.method}: {q.score(metric, result.mean)} at {cost_text}")


def _draw_front(
    axes: Axes, contest: Contest, front: Sequence[tuple[float, MethodResult]]
) -> None:
    """A staircase: paying more without reaching the next method buys nothing."""
    if len(front) < 2:
        return
    steps = sorted(front, key=_cost)
    values = [q.axis_value(contest.metric, result.mean or 0) for _, result in steps]
    axes.step(
        [c for c, _ in steps], values, where="post", color=MUTED, lw=1, ls=(0, (4, 2)), zorder=1
    )


def _name_points(
    axes: Axes, contest: Contest, points: Sequence[tuple[float, MethodResult]]
) -> None:
    """Writes each name at the first place where it covers neither a mark nor another name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(axes.figure)  # type: ignore[arg-type]
    canvas.draw()
    renderer = canvas.get_renderer()
    spots = [
        axes.transData.transform((cost, q.axis_value(contest.metric, result.mean or 0)))
        for cost, result in points
    ]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    frame = axes.get_window_extent(renderer)
    for cost, result in points:
        place = (cost, q.axis_value(contest.metric, result.mean or 0))
        label = axes.annotate(
            short(result.method, 18), place, xytext=(0, 0), textcoords="offset points", zorder=4
        )
        overlaps: list[tuple[float, int]] = []
        for index, (dx, dy) in enumerate(_PLACES):
            _put(label, dx, dy)
            box = label.get_window_extent(renderer)
            outside = 4 * (box.x0 < frame.x0 or box.x1 > frame.x1 + 4)
            overlaps.append((outside + sum(_covers(box, other) for other in taken), index))
        _put(label, *_PLACES[min(overlaps)[1]])
        taken.append(label.get_window_extent(renderer))


def _put(label: object, dx: float, dy: float) -> None:
    label.set(  # type: ignore[attr-defined]
        position=(dx, dy),
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
    )


def _covers(box: Bbox, other: Bbox) -> bool:
    return bool(box.overlaps(other))
