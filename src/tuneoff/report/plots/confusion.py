"""Confusion matrix of one method on the test split: the mean over its seeds."""

from __future__ import annotations

import numpy as np

from tuneoff.report.contents import Contest
from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import INK, PAPER, SERIES, new_figure, short

MOST_WRITTEN = 10
"""Above so many classes the cells are too small for a figure."""
_MOST_LISTED = 30
"""Above so many classes the names would overlap."""


def draw_confusion(contest: Contest, method: str) -> Plot | None:
    """None when the method has no finished run with a confusion matrix."""
    found = confusion(contest, method)
    if found is None:
        return None
    classes, counts_CC, runs = found
    total_C1 = counts_CC.sum(axis=1, keepdims=True)
    share_CC = np.divide(counts_CC, total_C1, out=np.zeros_like(counts_CC), where=total_C1 > 0)
    size = min(4.6, max(2.3, 1.0 + 0.42 * len(classes)))
    figure = new_figure(size * 0.92, width=max(size, 2.9))
    axes = figure.add_subplot()
    right = [f"{name} {share:.0%}" for name, share in zip(classes, np.diag(share_CC), strict=True)]
    plot = Plot(
        kind="confusion",
        title=f"Confusion: {method}",
        alt=f"Confusion matrix of {method}, mean of {runs} runs. Found of each class: "
        + "; ".join(right),
        figure=figure,
        method=method,
    )
    if len(classes) > MOST_WRITTEN:
        from matplotlib.colors import LinearSegmentedColormap, to_rgba

        # Through to what lies behind, which is dark on a dark page.
        ends = [to_rgba(SERIES[0], 0.04), to_rgba(SERIES[0], 1.0)]
        shades = LinearSegmentedColormap.from_list("shades", ends)
        axes.imshow(share_CC, cmap=shades, vmin=0, vmax=1, interpolation="nearest")
    else:
        _draw_cells(plot, classes, counts_CC, share_CC, runs)
    ticks = range(len(classes)) if len(classes) <= _MOST_LISTED else []
    names = [short(classes[i], 12) for i in ticks]
    small = {"fontsize": 8.5 if len(classes) <= MOST_WRITTEN else 6}
    turned = max(map(len, names), default=0) > 5 or len(classes) > 4
    axes.set_xticks(ticks, names, rotation=90 if turned else 0, **small)  # type: ignore[arg-type]
    axes.set_yticks(ticks, names, **small)  # type: ignore[arg-type]
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return plot


def confusion(contest: Contest, method: str) -> tuple[list[str], np.ndarray, int] | None:
    """Class names, mean counts (true, predicted), and the number of runs behind them."""
    matrices, classes = [], None
    for run in contest.runs_of(method):
        table = run.score("test", "confusion_matrix")
        if table and (classes is None or len(table) == len(classes)):
            classes = run.classes or [str(index) for index in range(len(table))]
            matrices.append(np.asarray(table, dtype=float))
    if classes is None or any(m.shape != (len(classes), len(classes)) for m in matrices):
        return None
    return list(classes), np.mean(matrices, axis=0), len(matrices)


def largest_confusions(contest: Contest, method: str, most: int = 3) -> list[str]:
    """`positive taken for neutral: 12 % of positive`, the largest first."""
    found = confusion(contest, method)
    if found is None:
        return []
    classes, counts_CC, _ = found
    total_C1 = np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    wrong_CC = counts_CC / total_C1 * (1 - np.eye(len(classes)))
    order = np.argsort(wrong_CC, axis=None)[::-1][:most]
    cells = [(int(i) // len(classes), int(i) % len(classes)) for i in order]
    return [
        f"{classes[i]} taken for {classes[j]}: {wrong_CC[i, j]:.0%} of {classes[i]}"
        for i, j in cells
        if wrong_CC[i, j] > 0
    ]


def _draw_cells(
    plot: Plot, classes: list[str], counts_CC: np.ndarray, share_CC: np.ndarray, runs: int
) -> None:
    from matplotlib.patches import Rectangle

    axes = plot.figure.axes[0]
    for (true, predicted), share in np.ndenumerate(share_CC):
        # Opacity, not a mixed colour: so the page can change both ends for the dark.
        cell = Rectangle(
            (predicted - 0.48, true - 0.48), 0.96, 0.96, fc=SERIES[0], alpha=0.06 + 0.94 * share
        )
        axes.add_patch(cell)
        count = counts_CC[true, predicted]
        plot.tip(
            cell,
            f"true {classes[true]}, predicted {classes[predicted]}: {count:.4g} rows "
            f"({share:.1%} of the class), mean of {runs} runs",
        )
        axes.text(
            predicted,
            true,
            f"{share * 100:.0f}",
            ha="center",
            va="center",
            color=PAPER if share > 0.5 else INK,
        )
