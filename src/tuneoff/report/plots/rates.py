"""Learning-rate probes: the whole curve of each method, and the rate that was chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, Look, new_figure, plain_log_axis, short

_EARLY = (
    "Hollow, off the line: stopped early, at its score there (tuning.halving); the choice is among "
    "the others. "
)


class RateCurve(NamedTuple):
    """The probes of one method: scores by rate (empty where none came to its end), the choice, and
    by rate the step at which a probe was stopped early, with its score there."""

    method: str
    scores: dict[float, list[float]]
    chosen: float | None
    stopped: dict[float, tuple[int, float]]

    @property
    def means(self) -> dict[float, float]:
        return {rate: sum(v) / len(v) for rate, v in self.scores.items() if v}

    @property
    def at_edge(self) -> bool:
        """True when a better rate may lie outside of what was tried."""
        rates = sorted(self.scores)
        return len(rates) > 1 and self.chosen in (rates[0], rates[-1])


def rate_curves(contest: Contest) -> list[RateCurve]:
    """One curve per probed method, in the order of the verdict."""
    scores: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    stopped: dict[str, dict[float, tuple[int, float]]] = defaultdict(dict)
    for probe in contest.probes:
        if probe.learning_rate is not None:
            found = scores[probe.method][probe.learning_rate]
            value = probe.score("validation", contest.validation_metric)
            if probe.status == "done" and isinstance(value, int | float):
                found.append(float(value))
            last = (probe.rungs or [{}])[-1]
            value = last.get("validation", {}).get(contest.validation_metric)
            if probe.status == "stopped" and isinstance(value, int | float):
                stopped[probe.method][probe.learning_rate] = (last["step"], float(value))
    order = [result.method for result in contest.ranked]
    curves = []
    known = [method for method in order if method in scores]
    for method in known + [method for method in scores if method not in known]:
        by_rate = dict(sorted(scores[method].items()))
        chosen = _chosen(contest, method, by_rate)
        curves.append(RateCurve(method, by_rate, chosen, stopped[method]))
    return curves


def draw_rates(contest: Contest, looks: Mapping[str, Look]) -> Plot | None:
    """None when nothing was probed."""
    curves = rate_curves(contest)
    if not curves:
        return None
    metric = contest.validation_metric
    rows = -(-len(curves) // 2)
    figure = new_figure(0.4 + 1.35 * rows)
    grid = figure.subplots(rows, min(2, len(curves)), sharey=True, squeeze=False)
    plot = Plot(
        kind="learning_rates",
        title="Learning-rate probes",
        alt=f"Validation {q.axis_name(metric)} by learning rate. "
        + "; ".join(f"{c.method}: chosen {q.rate(c.chosen)}" for c in curves),
        figure=figure,
        note=f"Validation {q.axis_name(metric)} by learning rate. Ring: the chosen rate. Cross: "
        f"the probe failed. {_EARLY if any(c.stopped for c in curves) else ''}"
        "The test split is not used here.",
    )
    panels = grid.flatten()
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    everything = [value for curve in curves for value in curve.means.values()]
    everything += [value for curve in curves for _, value in curve.stopped.values()]
    worst = min if contest.validation_rises else max
    failed_place = q.axis_value(metric, worst(everything)) if everything else 0.0
    for axes, curve in zip(panels, curves, strict=False):
        look = looks[curve.method]
        means = curve.means
        values = [q.axis_value(metric, value) for value in means.values()]
        axes.plot(list(means), values, color=look.colour, marker=look.marker, ms=4.5)
        for rate, (step, value) in curve.stopped.items():
            height = q.axis_value(metric, value)
            (mark,) = axes.plot([rate], [height], "o", color=look.colour, ms=4.5, mfc="none")
            text = f"stopped at step {step}, {q.score(metric, value)} there"
            plot.tip(mark, f"{curve.method}, learning rate {q.rate(rate)}: {text}")
        for rate, found in curve.scores.items():
            if rate in curve.stopped:
                continue
            height = q.axis_value(metric, means[rate]) if found else failed_place
            form = {"mew": 0, "alpha": 0.0} if found else {"mew": 2}
            shape = "o" if found else "x"
            (mark,) = axes.plot([rate], [height], shape, color=look.colour, ms=9, **form)
            text = q.score(metric, means[rate]) if found else "failed"
            plot.tip(mark, f"{curve.method}, learning rate {q.rate(rate)}: {text}")
        if curve.chosen in means:
            place = q.axis_value(metric, means[curve.chosen])
            axes.plot([curve.chosen], [place], "o", ms=12, mfc="none", mec=INK, mew=1.1)
        warning = ", at the edge!" if curve.at_edge else ""
        axes.set_title(f"{short(curve.method, 16)}: {q.rate(curve.chosen)}{warning}")
        axes.margins(x=0.14, y=0.2)
        plain_log_axis(axes, "x", (1, 3))
        axes.xaxis.set_major_formatter(lambda value, _: q.rate(value))
        axes.locator_params(axis="y", nbins=4)
        axes.grid()
    return plot


def _chosen(contest: Contest, method: str, by_rate: Mapping[float, list[float]]) -> float | None:
    """The rate that the runs used; where no run tells, the best of the probes."""
    result = contest.result(method)
    if result is not None and result.learning_rate is not None:
        near = [r for r in by_rate if abs(r - result.learning_rate) <= 1e-6 * r]
        return near[0] if near else result.learning_rate
    means = {rate: sum(found) / len(found) for rate, found in by_rate.items() if found}
    best = max if contest.validation_rises else min
    return best(means, key=means.__getitem__) if means else None
