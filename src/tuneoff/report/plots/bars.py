"""One cost per method as bars on a log axis, each with its figure at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import Look, list_methods, new_figure


def draw_parameters(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Trainable parameters; None when no method has a figure."""
    return _draw_bars(
        contest, looks, "parameters", "Trainable parameters", "trainable_parameters", q.count
    )


def draw_training_time(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Training time of one run; None when no method has a figure."""
    return _draw_bars(
        contest, looks, "training_time", "Training time of one run", "train_seconds", q.duration
    )


def _draw_bars(
    contest: Contest,
    looks: Mapping[str, Look],
    kind: str,
    title: str,
    key: str,
    text: Callable[[float], str],
) -> Plot | None:
    costs = [
        (cost, result.method)
        for result in contest.methods
        if (cost := result.cost_of(key)) is not None and cost > 0
    ]
    if not costs:
        return None
    costs.sort()
    figure = new_figure(0.6 + 0.3 * len(costs))
    axes = figure.add_subplot()
    plot = Plot(
        kind=kind,
        title=title,
        alt=f"{title}, least first: " + "; ".join(f"{m} {text(cost)}" for cost, m in costs),
        figure=figure,
        note="Each gridline is ten times the one before." if _wide(costs) else "",
    )
    low, high = costs[0][0], costs[-1][0]
    if _wide(costs):
        axes.set_xscale("log")
        start = 10 ** (len(str(int(low))) - 2) if low >= 1 else low / 3
        axes.set_xlim(start, high * (high / start) ** 0.28)
    else:
        axes.set_xlim(0, high * 1.28)
    full = next((cost for cost, method in costs if method == "full"), None)
    for row, (cost, method) in enumerate(costs):
        (bar,) = axes.barh([row], [cost], height=0.62, color=looks[method].colour)
        compared = q.ratio(cost, full) if method != "full" else ""
        plot.tip(bar, f"{method}: {text(cost)}" + (f", {compared} than full" if compared else ""))
        axes.annotate(
            text(cost), (cost, row), xytext=(4, 0), textcoords="offset points", va="center"
        )
    list_methods(axes, [method for _, method in costs])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: text(value) if value else "0")
    if not _wide(costs):
        axes.locator_params(axis="x", nbins=4)
    return plot


def _wide(costs: list[tuple[float, str]]) -> bool:
    """True when the costs span so much that small bars would vanish."""
    return costs[-1][0] / costs[0][0] > 12
