"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff.report import quantities as q


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_600, "1.00 MB"),
        (13_400_000, "13.4 MB"),
        (412_400_000, "412 MB"),
        (1_240_000_000, "1.24 GB"),
        (2e12, "2.00 TB"),
    ],
)
def test_memory(byte_count: float | None, text: str) -> None:
    assert q.memory(byte_count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0123, "12.3 ms"),
        (4.2, "4.20 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.6, "1 h 00 min"),
        (4320, "1 h 12 min"),
        (3.6e6, "1,000 h 00 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert q.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(512, "512"), (9999, "9,999"), (33_500, "33.5 k"), (999_600, "1.00 M"), (4_390_000, "4.39 M")],
)
def test_count(value: float, text: str) -> None:
    assert q.count(value) == text


def test_scores() -> None:
    assert q.score("accuracy", 0.9012) == "90.1 %"
    assert q.score("macro_f1", 0.5, unit=False) == "50.0"
    assert q.score("matthews", -0.25) == "−0.250"
    assert q.score("loss", 0.3121) == "0.312"
    assert q.score("perplexity", 1234.5) == "1,234.5"
    assert q.score("accuracy", None) == "–"


def test_differences() -> None:
    assert q.difference("accuracy", -0.0123) == "−1.2 points"
    assert q.difference("accuracy", 0.004, unit=False) == "+0.4"
    assert q.difference("accuracy", -0.0001, unit=False) == "0.0", "no minus on a zero"
    assert q.difference("loss", 0.0123) == "+0.012"
    assert q.difference_interval("accuracy", (-0.02, 0.004)) == "−2.0 to +0.4"
    assert q.difference_interval("accuracy", (None, 0.004)) == ""
    assert q.score_interval("accuracy", None) == ""


def test_p_values_and_rates() -> None:
    assert q.p_value(0.00012) == "p < 0.001"
    assert q.p_value(0.0312) == "p = 0.031"
    assert q.p_value(0.4) == "p = 0.40"
    assert q.rate(3e-4) == "3e-4"
    assert q.rate(1 / 6e3) == "1.67e-4"
    assert q.rate(0.01) == "1e-2"


def test_ratio() -> None:
    assert q.ratio(100, 310) == "3.10× less"
    assert q.ratio(310, 100) == "3.10× more"
    assert q.ratio(100, 101) == "the same"
    assert q.ratio(None, 100) == q.ratio(0, 100) == ""


@given(st.floats(min_value=1, max_value=1e14))
def test_memory_keeps_three_digits(byte_count: float) -> None:
    number, unit = q.memory(byte_count).split()
    size = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * size == pytest.approx(byte_count, rel=0.006, abs=0.5)
