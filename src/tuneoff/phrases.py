"""Numbers as the sentences of a verdict say them: points, intervals, p-values, bytes, durations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuneoff.metrics import Metric


def in_points(metric: Metric) -> bool:
    """Whether the score is bounded (a share, a correlation, a score of 0 to 100), and differences
    are spoken of in points of a hundred."""
    return all(math.isfinite(bound) for bound in metric.bounds)


def _points(metric: Metric) -> float:
    """How many points the score 1 is."""
    return 1.0 if metric.bounds[1] == 100 else 100.0


def amount(size: float, metric: Metric, name: str) -> str:
    """The size of a difference: `0.4 points`, `0.012 loss`."""
    if in_points(metric):
        text = f"{abs(_points(metric) * size):.1f}"
        return f"{text} point{'' if text == '1.0' else 's'}"
    return f"{abs(size):.3g} {name}"


def against(difference: float, metric: Metric, name: str) -> str:
    """`0.4 points below`, or `level with` where nothing of it would be seen."""
    if amount(difference, metric, name).startswith(("0.0 ", "0 ")):
        return "level with"
    return f"{amount(difference, metric, name)} {'below' if difference < 0 else 'above'}"


def span(interval: tuple[float, float], metric: Metric, level: float) -> str:
    """`95 % interval -1.1 to +0.3`, of a difference."""
    scale, form = (_points(metric), "+.1f") if in_points(metric) else (1.0, "+.3g")
    low, high = (format(scale * bound, form) for bound in interval)
    return f"{level * 100:g} % interval {low} to {high}"


def p_text(p: float) -> str:
    """`p = 0.004`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def size_text(count: float) -> str:
    """Bytes in decimal units: `1.2 GB`."""
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.3g} {unit}"
    return f"{count:.0f} bytes"


def duration_text(seconds: float) -> str:
    """`40 seconds`, `14 minutes`, `3.5 hours`."""
    if seconds < 90:
        return f"{seconds:.2g} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def counted(count: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
