"""Learning curves: train loss and validation metric by step, a row per method, its seeds thin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, Run
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import GRID, INK, MUTED, Look, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[float, float]]
_TIPS_PER_LINE = 12


def draw_curves(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """None when no run has a history. Runs that broke off are drawn as far as they came."""
    histories = {
        result.method: [run for run in contest.runs_of(result.method, done=False) if run.history]
        for result in contest.ranked
    }
    histories = {method: runs for method, runs in histories.items() if runs}
    if not histories:
        return None
    metric = contest.validation_metric
    figure = new_figure(0.5 + 1.0 * len(histories))
    grid = figure.subplots(len(histories), 2, sharex=True, sharey="col", squeeze=False)
    plot = Plot(
        kind="learning_curves",
        title="Learning curves",
        alt="Train loss and validation metric by training step. At the end: "
        + "; ".join(_ending(method, runs, metric) for method, runs in histories.items()),
        figure=figure,
        note=f"Left: train loss (nats). Right: validation {q.axis_name(metric)}. Thick: mean over "
        "seeds. Thin: single seeds. Grey: the other methods.",
    )
    means = {
        (method, side): _mean_of_runs(runs, side, metric)
        for method, runs in histories.items()
        for side in (0, 1)
    }
    for row, (method, runs) in zip(grid, histories.items(), strict=True):
        for side, axes in enumerate(row):
            for (other, other_side), line in means.items():
                if other_side == side and other != method:
                    axes.plot(*_columns(line), color=GRID, lw=0.9, zorder=1)
            for run in runs:
                points = _points(run, side, metric)
                axes.plot(*_columns(points), color=looks[method].colour, lw=0.6, alpha=0.6)
            line = means[method, side]
            axes.plot(*_columns(line), color=looks[method].colour, lw=1.8)
            _tip_line(plot, axes, method, line, side, metric)
            axes.locator_params(nbins=4)
            axes.grid()
        row[0].set_title(short(method, 26), fontweight="bold")
    for side, name in enumerate(("train loss", f"validation {q.axis_name(metric)}")):
        grid[0][side].set_title(name, loc="right", color=MUTED, fontsize=8)
        grid[-1][side].set_xlabel("step")
        _bound(grid[0][side], contest, side)
    return plot


def _bound(axes: Axes, contest: Contest, side: int) -> None:
    """Runs that diverged leave the frame, rather than press all others flat."""
    metric = contest.validation_metric
    lines = [_points(run, side, metric) for run in contest.runs if run.status == "done"]
    values = [value for line in lines for _, value in line]
    if values:
        low, high = min(values), max(values)
        margin = 0.06 * ((high - low) or abs(high) or 1.0)
        axes.set_ylim(low - margin, high + margin)


def mean_line(lines: list[Points]) -> Points:
    """The mean at each step that every line reaches, so that no line's end makes a jump."""
    lines = [line for line in lines if line]
    if not lines:
        return []
    values: dict[float, list[float]] = defaultdict(list)
    for line in lines:
        for step, value in line:
            values[step].append(value)
    reach = min(line[-1][0] for line in lines)
    return [
        (step, sum(found) / len(found))
        for step, found in sorted(values.items())
        if step <= reach and len(found) == len(lines)
    ]


def _mean_of_runs(runs: list[Run], side: int, metric: str) -> Points:
    """The mean of the runs that were finished; of all, when none was."""
    done = [run for run in runs if run.status == "done"]
    return mean_line([_points(run, side, metric) for run in done or runs])


def _points(run: Run, side: int, metric: str) -> Points:
    """(step, train loss) or (step, validation score) of one run."""
    points = []
    for entry in run.history or []:
        value: Any = (
            entry.get("train_loss") if side == 0 else (entry.get("validation") or {}).get(metric)
        )
        step = entry.get("step")
        if isinstance(value, int | float) and isinstance(step, int | float):
            points.append((float(step), q.axis_value(metric, value) if side else float(value)))
    return sorted(points)


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def _tip_line(plot: Plot, axes: Axes, method: str, line: Points, side: int, metric: str) -> None:
    """Invisible marks along a line, for the pointer to find."""
    stride = max(1, -(-len(line) // _TIPS_PER_LINE))
    for step, value in [*line[::-1][::stride]]:
        (mark,) = axes.plot([step], [value], "o", color=INK, ms=9, alpha=0.0, mew=0)
        shown = f"{value:.1f} %" if side and q.is_share(metric) else f"{value:.3f}"
        what = f"validation {q.metric_name(metric)}" if side else "train loss"
        plot.tip(mark, f"{method}, step {step:.0f}: {what} {shown}")


def _ending(method: str, runs: list[Run], metric: str) -> str:
    loss, score = (_mean_of_runs(runs, side, metric) for side in (0, 1))
    parts = [f"loss {loss[-1][1]:.3f}"] if loss else []
    parts += [f"{q.metric_name(metric)} {score[-1][1]:.3g}"] if score else []
    return f"{method} {', '.join(parts) or 'unknown'}"
