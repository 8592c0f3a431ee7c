"""Quality on further test sets beside the main one: a panel per set, an arrow per method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, MethodResult, Shift, ShiftResult
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import MUTED, Look, list_methods, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_shift(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """None where the study has no further test set, or no method a score on it."""
    sets = [(one, pairs) for one in contest.shift if (pairs := _pairs(contest, one))]
    if not sets:
        return None
    metric, level = contest.metric, round(contest.confidence_level * 100)
    figure = new_figure(0.4 + sum(0.55 + 0.36 * len(pairs) for _, pairs in sets))
    ratios = [0.55 + 0.36 * len(pairs) for _, pairs in sets]
    grid = figure.subplots(len(sets), 1, sharex=True, squeeze=False, height_ratios=ratios).ravel()
    plot = Plot(
        kind="shift",
        title=f"Under another distribution: {q.metric_name(metric)}",
        alt=f"{q.axis_name(metric)} on test and on further test sets. "
        + "; ".join(_words(metric, one, pairs) for one, pairs in sets),
        figure=figure,
        note="Ring: the test split. Filled: the further test set. "
        f"Bars: {level} % intervals. Methods in the order of the test split.",
    )
    for axes, (one, pairs) in zip(grid, sets, strict=True):
        for row, (main, there) in enumerate(pairs):
            _draw_row(plot, axes, metric, one, main, there, row, looks[main.method])
        list_methods(axes, [main.method for main, _ in pairs])
        axes.set_title(one.name)
        axes.margins(x=0.08)
    grid[-1].set_xlabel(q.axis_name(metric))
    return plot


def _pairs(contest: Contest, one: Shift) -> list[tuple[MethodResult, ShiftResult]]:
    """Methods with a score on both, best on test first."""
    there = {result.method: result for result in one.methods if result.mean is not None}
    return [
        (main, there[main.method])
        for main in contest.ranked
        if main.mean is not None and main.method in there
    ]


def _words(metric: str, one: Shift, pairs: list[tuple[MethodResult, ShiftResult]]) -> str:
    scores = ", ".join(
        f"{main.method} {q.score(metric, main.mean)} to {q.score(metric, there.mean)}"
        for main, there in pairs
    )
    return f"{one.name}: {scores}"


def _draw_row(
    plot: Plot,
    axes: Axes,
    metric: str,
    one: Shift,
    main: MethodResult,
    there: ShiftResult,
    row: int,
    look: Look,
) -> None:
    before, after = (q.axis_value(metric, value or 0.0) for value in (main.mean, there.mean))
    for interval, colour in ((main.interval, MUTED), (there.interval, look.colour)):
        ends = [q.axis_value(metric, end) for end in interval or () if end is not None]
        axes.plot(ends, [row] * len(ends), color=colour, lw=4, alpha=0.35)
    axes.plot([before, after], [row, row], color=look.colour, lw=1.0)
    (ring,) = axes.plot([before], [row], look.marker, mfc="none", mec=look.colour, ms=8)
    plot.tip(ring, f"{main.method} on test: {q.score(metric, main.mean)}")
    (mark,) = axes.plot([after], [row], look.marker, color=look.colour, ms=8)
    change = there.versus_test.difference if there.versus_test else None
    text = f"{main.method} on {one.name}: {q.score(metric, there.mean)}"
    plot.tip(mark, f"{text}, {q.difference(metric, change)}")
