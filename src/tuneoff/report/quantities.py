"""Numbers as people read them: percent, points, MB, minutes.

Scores that lie between 0 and 1 (accuracy, F1, ROUGE, ...) are shown in percent, and their
differences in percentage points; scores from 0 to 100 (BLEU) with one decimal; every other score
(loss, Matthews correlation) as it is: a metric's `bounds` say which it is.
Memory is decimal: 1 MB = 1,000,000 bytes. A figure that was not measured is shown as `–`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from tuneoff import registry
from tuneoff.errors import TuneoffError
from tuneoff.metrics import Metric

NOTHING = "–"
_SHARES = re.compile(r"accuracy|f1|precision|recall", re.IGNORECASE)


@cache
def _known(metric: str) -> type[Metric] | None:
    """The metric of a name; None for columns of a table, and for a plug-in that is not here."""
    try:
        found: type[Metric] = registry.get("metrics", metric)
    except TuneoffError:
        return None
    return found


def is_share(metric: str) -> bool:
    """True when a score of this metric is a share, shown in percent."""
    known = _known(metric)
    return _SHARES.search(metric) is not None if known is None else known.bounds == (0.0, 1.0)


def _of_hundred(metric: str) -> bool:
    known = _known(metric)
    return known is not None and known.bounds == (0.0, 100.0)


def metric_name(metric: str) -> str:
    """`macro_f1` -> `macro F1`; a metric's own title, where it has one."""
    known = _known(metric)
    if known is not None and known.title:
        return known.title
    return re.sub(r"\bf1\b", "F1", metric.replace("_", " ").strip())


def axis_name(metric: str) -> str:
    """The metric's name with its unit: `accuracy (%)`."""
    return f"{metric_name(metric)} (%)" if is_share(metric) else metric_name(metric)


def axis_value(metric: str, value: float) -> float:
    """A score on the axis that `axis_name` names."""
    return value * 100 if is_share(metric) else value


def score(metric: str, value: float | None, unit: bool = True) -> str:
    """`90.1 %`, `27.4` of a hundred, or `0.312` for a metric without such bounds."""
    if value is None:
        return NOTHING
    if is_share(metric):
        return f"{value * 100:.1f}{' %' if unit else ''}"
    if _of_hundred(metric):
        return f"{value:.1f}"
    return _minus(f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}")


def difference(metric: str, value: float | None, unit: bool = True) -> str:
    """`−1.2 points`, or `−0.012`; always with its sign."""
    if value is None:
        return NOTHING
    if is_share(metric):
        return _signed(f"{value * 100:+.1f}") + (" points" if unit else "")
    if _of_hundred(metric):
        return _signed(f"{value:+.1f}") + (" points" if unit else "")
    return _signed(f"{value:+.3f}")


def score_interval(metric: str, interval: Sequence[float | None] | None) -> str:
    """`88.9 to 92.1`, in the unit of the score; empty when there is no interval."""
    if interval is None or len(interval) != 2 or None in interval:
        return ""
    low, high = (score(metric, value, unit=False) for value in interval)
    return f"{low} to {high}"


def difference_interval(metric: str, interval: Sequence[float | None] | None) -> str:
    """`−2.0 to +0.4`, in the unit of the difference; empty when there is no interval."""
    if interval is None or len(interval) != 2 or None in interval:
        return ""
    low, high = (difference(metric, value, unit=False) for value in interval)
    return f"{low} to {high}"


def p_value(value: float | None) -> str:
    """`p = 0.03`, `p < 0.001`."""
    if value is None:
        return ""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def memory(byte_count: float | None) -> str:
    """`13.4 kB`, `412 MB`, `1.24 GB`."""
    if byte_count is None:
        return NOTHING
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if byte_count >= size * 0.9995:
            return f"{_three_digits(byte_count / size)} {unit}"
    return f"{byte_count:.0f} B"


def duration(seconds: float | None) -> str:
    """`12 ms`, `4.2 s`, `2 min 05 s`, `1 h 12 min`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def memory_unit(most_bytes: float) -> tuple[float, str]:
    """The unit of an axis that reaches so far: its size in bytes, and its name."""
    return (1e9, "GB") if most_bytes >= 2e9 else (1e6, "MB") if most_bytes >= 2e6 else (1e3, "kB")


def duration_unit(most_seconds: float) -> tuple[float, str]:
    """The unit of an axis that reaches so far: its size in seconds, and its name."""
    if most_seconds >= 7200:
        return 3600.0, "h"
    return (60.0, "min") if most_seconds >= 180 else (1.0, "s")


def count(value: float | None) -> str:
    """`5,120`, `33.5 k`, `4.39 M`, `1.10 B`."""
    if value is None:
        return NOTHING
    if value < 9999.5:
        return f"{value:,.0f}"
    unit, size = ("B", 1e9) if value >= 9.995e8 else ("M", 1e6) if value >= 9.995e5 else ("k", 1e3)
    return f"{_three_digits(value / size)} {unit}"


def whole(value: float | None) -> str:
    """`1,234,567`."""
    return NOTHING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """A learning rate: `3e-4`."""
    if value is None:
        return NOTHING
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def ratio(value: float | None, reference: float | None) -> str:
    """`3.1× less` or `1.2× more` than a reference; empty where that says nothing."""
    if not value or not reference:
        return ""
    less = value <= reference
    times = reference / value if less else value / reference
    if times < 1.05:
        return "the same"
    text = _three_digits(times) if times < 1000 else f"{times:,.0f}"
    return f"{text}× {'less' if less else 'more'}"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _signed(text: str) -> str:
    """A true minus sign, and no sign on a zero."""
    return text.lstrip("+-") if float(text) == 0 else _minus(text)
