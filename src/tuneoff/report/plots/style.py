"""How every plot looks: colours that colour-blind readers tell apart, marker shapes, sizes.

Colours: Okabe and Ito (2008), without the yellow that vanishes on white. Each method has a colour
and a marker shape of its own, the same in all plots, and its name stands beside what it marks.
The page replaces these exact colours by its own light and dark ones (see `svg.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#222222", "#666666", "#dddddd", "#ffffff"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c99")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
WIDTH = 4.6
"""Inches. Narrow, so that a phone shows the letters at nearly their own size."""

_RC = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.5,
    "figure.facecolor": PAPER,
    "text.parse_math": False,  # a `$` in somebody's name is a dollar
    "axes.unicode_minus": True,
    "svg.fonttype": "none",  # letters stay letters: small, sharp, selectable
    "svg.hashsalt": "tuneoff",  # the same results give the same file
    "savefig.dpi": 200,
}


class Look(NamedTuple):
    """A method's colour and marker."""

    colour: str
    marker: str


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """A look for each method of a study; no two are alike among the first seventy."""
    return {
        method: Look(SERIES[i % len(SERIES)], MARKERS[(i + i // 70) % len(MARKERS)])
        for i, method in enumerate(methods)
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Our matplotlib settings, for the time of a `with` alone."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own matplotlibrc must not change the report
        matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, sizes in inches. It belongs to no window and needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def short(name: str, length: int = 22) -> str:
    """A name that fits beside a plot; the middle goes, for names differ at their ends."""
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    if len(name) <= length:
        return name
    head = (length - 1) // 2
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


def list_methods(axes: Axes, methods: Sequence[str]) -> None:
    """Names of methods down the y axis, the first on top."""
    axes.set_yticks(range(len(methods)), [short(method) for method in methods])
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def plain_log_axis(axes: Axes, axis: str, labels: Sequence[float] = (1, 2, 5)) -> None:
    """A log axis whose ticks stand at 1, 2, 5 of each decade or at whole decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axes, f"set_{axis}scale")("log")
    one = getattr(axes, f"{axis}axis")
    low, high = sorted(getattr(axes, f"get_{axis}lim")())
    one.set_major_locator(LogLocator(subs=labels if high / low < 300 else (1.0,), numticks=9))
    one.set_minor_formatter(NullFormatter())
