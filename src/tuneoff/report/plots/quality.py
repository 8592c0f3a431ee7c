"""Quality per method: mean with its interval, and every seed as a dot."""

from __future__ import annotations

from collections.abc import Mapping

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, MUTED, Look, list_methods, new_figure


def draw_quality(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """None when no method has a score."""
    results = [result for result in contest.ranked if result.mean is not None]
    if not results:
        return None
    metric, level = contest.metric, round(contest.confidence_level * 100)
    figure = new_figure(0.75 + 0.36 * len(results))
    axes = figure.add_subplot()
    plot = Plot(
        kind="quality",
        title=f"Quality: {q.metric_name(metric)} on the test split",
        alt=f"{q.axis_name(metric)} per method, best first: "
        + "; ".join(
            f"{result.method} {q.score(metric, result.mean)}"
            + (f" ({interval})" if (interval := q.score_interval(metric, result.interval)) else "")
            for result in results
        ),
        figure=figure,
        note=f"Large mark: mean over seeds. Bar: {level} % interval. Small rings: single seeds.",
    )
    floor, best = contest.noise_floor, contest.result(contest.best)
    if floor and floor.value and best and best.mean is not None:
        sign = -1 if contest.higher_is_better else 1
        edge = q.axis_value(metric, best.mean + sign * floor.value)
        band = axes.axvspan(
            *sorted((edge, q.axis_value(metric, best.mean))), color=MUTED, alpha=0.14, lw=0
        )
        plot.tip(band, floor.sentence or f"noise floor: {q.difference(metric, floor.value)}")
        plot.note += " Shaded: within the noise floor of the best."
    for row, result in enumerate(results):
        _draw_row(plot, contest, result.method, row, looks[result.method])
    list_methods(axes, [result.method for result in results])
    axes.set_xlabel(q.axis_name(metric))
    axes.margins(x=0.06)
    return plot


def _draw_row(plot: Plot, contest: Contest, method: str, row: int, look: Look) -> None:
    axes, metric, result = plot.figure.axes[0], contest.metric, contest.result(method)
    assert result is not None
    assert result.mean is not None
    if interval := q.score_interval(metric, result.interval):
        low, high = (q.axis_value(metric, value or 0) for value in result.interval or ())
        axes.plot([low, high], [row, row], color=look.colour, lw=4, alpha=0.45)
    for seed, value in result.per_seed.items():
        if value is not None:
            place = q.axis_value(metric, value)
            style = {"mfc": "none", "mec": INK, "mew": 0.8, "ls": "none", "ms": 4}
            (ring,) = axes.plot([place], [row + 0.24], "o", **style)  # type: ignore[arg-type]
            plot.tip(ring, f"{method}, seed {seed}: {q.score(metric, value)}")
    (mark,) = axes.plot(
        [q.axis_value(metric, result.mean)], [row], look.marker, color=look.colour, ms=8
    )
    text = f"{method}: {q.score(metric, result.mean)}"
    text += f", interval {interval}" if interval else ""
    text += f", {result.n} runs" + (", tied with the best" if _tied(contest, method) else "")
    plot.tip(mark, text)


def _tied(contest: Contest, method: str) -> bool:
    return method in contest.tied_with_best and method != contest.best
