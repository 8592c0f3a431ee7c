"""One cost per method least first, each with its figure beside it."""

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


def draw_memory(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Peak memory of training; None when no method has a figure."""
    return _draw_bars(
        contest, looks, "memory", "Peak memory of training", "peak_memory_bytes", q.memory
    )


def draw_training_time(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Training time of one run; None when no method has a figure."""
    return _draw_bars(
        contest, looks, "training_time", "Training time of one run", "train_seconds", q.duration
    )


def draw_inference_time(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Seconds per example of inference; None when no method has a figure."""
    key = "inference_seconds_per_example"
    return _draw_bars(
        contest, looks, "inference_time", "Inference time of one example", key, q.duration
    )


def draw_inference_memory(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """Peak memory of inference; None when no method has a figure."""
    key = "inference_peak_memory_bytes"
    return _draw_bars(contest, looks, "inference_memory", "Peak memory of inference", key, q.memory)


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
    wide = costs[-1][0] / costs[0][0] > 12  # small bars would vanish
    figure = new_figure(0.3 + 0.3 * len(costs))
    axes = figure.add_subplot()
    plot = Plot(
        kind=kind,
        title=title,
        alt=f"{title}, least first: " + "; ".join(f"{m} {text(cost)}" for cost, m in costs),
        figure=figure,
        note="Log scale: each gridline is ten times the one before." if wide else "",
    )
    low, high = costs[0][0], costs[-1][0]
    start = low / 4 if wide else 0.0
    axes.set_xscale("log" if wide else "linear")
    axes.set_xlim(start, high * (high / start) ** 0.28 if wide else high * 1.28)
    full = contest.full.method if contest.full else None
    reference = next((cost for cost, method in costs if method == full), None)
    for row, (cost, method) in enumerate(costs):
        look = looks[method]
        if wide:  # a bar's length means nothing on a log axis; a place does
            axes.plot([start, cost], [row, row], color=look.colour, lw=1.2, alpha=0.6)
            (mark,) = axes.plot([cost], [row], look.marker, color=look.colour, ms=8)
        else:
            (mark,) = axes.barh([row], [cost], height=0.6, color=look.colour)
        compared = q.ratio(cost, reference) if method != full else ""
        plot.tip(
            mark, f"{method}: {text(cost)}" + (f", {compared} than {full}" if compared else "")
        )
        axes.annotate(
            text(cost), (cost, row), xytext=(7, 0), textcoords="offset points", va="center"
        )
    list_methods(axes, [method for _, method in costs])
    axes.minorticks_off()
    axes.tick_params(axis="x", length=0, labelbottom=False)  # each mark has its figure beside it
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=wide, axis="x")
    return plot
