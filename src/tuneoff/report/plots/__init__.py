"""The plots of a report, one file each; drawn with matplotlib, without a display."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuneoff.report.contents import Contents, Contest
from tuneoff.report.effects import effects
from tuneoff.report.plots.bars import (
    draw_inference_memory,
    draw_inference_time,
    draw_memory,
    draw_parameters,
    draw_training_time,
)
from tuneoff.report.plots.cells import draw_chart, draw_comparison
from tuneoff.report.plots.confusion import draw_confusion
from tuneoff.report.plots.curves import draw_curves
from tuneoff.report.plots.interpolation import draw_interpolation
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.quality import draw_quality
from tuneoff.report.plots.rates import draw_rates
from tuneoff.report.plots.shift import draw_shift
from tuneoff.report.plots.style import house_style, looks
from tuneoff.report.plots.svg import Picture, render
from tuneoff.report.plots.sweeps import draw_effects
from tuneoff.report.plots.trade import draw_trade
from tuneoff.report.published import Beside, measured


def draw_pictures(contents: Contents) -> list[list[Picture]]:
    """The plots of each contest, in the contents' order; those without data are left out."""
    stems: set[str] = set()
    pictures = []
    with house_style():
        for contest in contents.contests:
            drawn = []
            for plot in _plots(contents, contest):
                plot.stem = _stem(contest, plot, stems)
                drawn.append(render(plot))
            pictures.append(drawn)
    return pictures


def draw_over_contests(contents: Contents, published: Beside | None) -> list[Picture]:
    """The plots that compare contests and cells with each other, and with what is published."""
    plots: list[Plot | None] = []
    with house_style():
        if published is not None:
            plots.append(draw_comparison(published.cells, published))
            plots += [plot for chart in published.charts for plot in draw_chart(published, chart)]
        elif len(contents.contests) > 1:
            plots.append(draw_comparison(measured(contents), None))
        plots.append(draw_effects(effects(contents)))
        drawn = []
        for plot in filter(None, plots):
            plot.stem = plot.kind
            drawn.append(render(plot))
    return drawn


def _plots(contents: Contents, contest: Contest) -> Iterator[Plot]:
    look = looks(contents.methods)
    candidates = [
        draw_quality(contest, look),
        draw_parameters(contest, look),
        draw_trade(contest, look, "peak_memory_bytes"),
        draw_trade(contest, look, "train_seconds"),
        draw_memory(contest, look),
        draw_training_time(contest, look),
        draw_inference_time(contest, look),
        draw_inference_memory(contest, look),
        draw_curves(contest, look),
        draw_rates(contest, look),
        draw_interpolation(contest, look),
        draw_shift(contest, look),
    ]
    candidates += [draw_confusion(contest, result.method) for result in contest.ranked]
    return (plot for plot in candidates if plot is not None)


def _stem(contest: Contest, plot: Plot, taken: set[str]) -> str:
    """A file name like `mini-bert.sst5.quality`, unique also where letter case does not count."""
    parts = [contest.backbone, contest.task, plot.kind, *([plot.method] if plot.method else [])]
    stem = ".".join(re.sub(r"[^\w-]+", "-", part).strip("-")[:48] or "x" for part in parts)
    number, unique = 1, stem
    while unique.lower() in taken:
        number += 1
        unique = f"{stem}-{number}"
    taken.add(unique.lower())
    return unique
