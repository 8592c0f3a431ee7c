"""A contest under judgement: who leads, who equals the best, and what would settle a tie."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from tuneoff import phrases
from tuneoff.contests import Contest, Entry
from tuneoff.statistics import Comparison

SAME_COST = 0.05
"""Relative; memory and time of one same run repeat to a few per cent."""
WORTHWHILE = 1.25
"""How many times less memory, or time at the same memory, an equal of the best must need before it
is recommended in its place: a tie may hide a loss, and a small saving is not worth that."""
MOST_ROWS = 20
"""How many times the test set may grow before more rows are no advice."""


@dataclass(frozen=True)
class Judge:
    """A contest with at least one finished run, and its confidence level."""

    contest: Contest
    comparison: Comparison
    level: float
    baseline: float | None
    """The score of always answering the most frequent class; None where that has no meaning."""

    @property
    def best(self) -> Entry:
        return self.contest.entry(self.comparison.best)

    @property
    def finished(self) -> list[Entry]:
        """Entries with runs, the best mean first."""
        entries = [entry for entry in self.contest.entries if entry.runs]
        sign = -1 if self.contest.metric.higher_is_better else 1
        return sorted(entries, key=lambda entry: sign * self.comparison.mean(entry.label).value)

    @property
    def nothing_right(self) -> bool:
        """Whether every method scores nothing at all."""
        means = [self.comparison.mean(entry.label).value for entry in self.finished]
        return self.contest.metric.higher_is_better and not any(means)

    def tied(self, entry: Entry, other: Entry) -> bool:
        """Whether the two cannot be told apart, after correction for all pairs."""
        return self.comparison.corrected_p(entry.label, other.label) >= 1 - self.level

    @property
    def leaders(self) -> list[Entry]:
        """The best and those tied with it."""
        return [entry for entry in self.finished if self.tied(entry, self.best)]

    @property
    def equals(self) -> list[Entry]:
        """The leaders of which even an uncorrected comparison does not say that they are worse, and
        whose mean is no further from the best than the methods' intervals usually reach: an
        unsteady method ties with much by its own wide interval, and is no equal for that."""
        return [
            entry
            for entry in self.leaders
            if entry is self.best or (self._holds_zero(entry) and self._within_noise(entry))
        ]

    def _within_noise(self, entry: Entry) -> bool:
        spans = [self.comparison.mean(one.label).interval(self.level) for one in self.finished]
        usual = statistics.median((high - low) / 2 for low, high in spans)
        return abs(self.comparison.difference(entry.label, self.best.label).value) <= usual

    def _holds_zero(self, entry: Entry) -> bool:
        difference = self.comparison.difference(entry.label, self.best.label)
        low, high = difference.interval(self.level)
        return low <= 0 <= high

    @property
    def balanced(self) -> Entry:
        """The best, or the cheapest of its equals, by the rule at the top of answers.py."""
        equals = [entry for entry in self.equals if entry is self.best or self._saves(entry)]
        known = [entry for entry in equals if "peak_memory_bytes" in entry.cost]
        if known:
            least = min(entry.cost["peak_memory_bytes"] for entry in known)
            limit = least * (1 + SAME_COST)
            known = [entry for entry in known if entry.cost["peak_memory_bytes"] <= limit]
        timed = [entry for entry in known or equals if "train_seconds" in entry.cost]
        if timed:
            return min(timed, key=lambda entry: entry.cost["train_seconds"])
        return known[0] if known else self.best

    def _saves(self, entry: Entry) -> bool:
        """Whether an equal of the best is so much cheaper that it may stand in for it."""
        memory, time = (
            self.best.cost[name] / entry.cost[name]
            if entry.cost.get(name) and self.best.cost.get(name)
            else 1.0
            for name in ("peak_memory_bytes", "train_seconds")
        )
        same_memory = 1 / (1 + SAME_COST) <= memory <= 1 + SAME_COST
        return memory >= WORTHWHILE or (same_memory and time >= WORTHWHILE)

    def learned(self, entry: Entry) -> bool:
        if self.baseline is None:
            return True
        gain = self.comparison.mean(entry.label).value - self.baseline
        return gain > 0 if self.contest.metric.higher_is_better else gain < 0

    def versus(self, entry: Entry, other: Entry) -> str:
        """`0.4 points below full (95 % interval -1.1 to +0.3, p = 0.2 after correction)`."""
        difference = self.comparison.difference(entry.label, other.label)
        p = self.comparison.corrected_p(entry.label, other.label)
        metric, name = self.contest.metric, self.contest.metric_name
        span = phrases.span(difference.interval(self.level), metric, self.level)
        return (
            f"{phrases.against(difference.value, metric, name)} {other.label} "
            f"({span}, {phrases.p_text(p)} after correction)"
        )

    def needs(self, entry: Entry, other: Entry) -> str:
        """How much more evidence would tell the two apart, and how long it takes."""
        wanted = self.comparison.seeds_needed(entry.label, other.label, self.level)
        names = phrases.listed([entry.label, other.label])
        if wanted is None:
            rows = self.comparison.rows_needed(entry.label, other.label, self.level)
            if rows is None or rows > MOST_ROWS * self.comparison.scores.rows:
                return f"no reasonable number of seeds or test rows would tell {names} apart"
            return (
                f"more seeds alone would not tell {names} apart; about {rows} test rows would "
                f"(now {self.comparison.scores.rows}), if they differ as much as seen here"
            )
        more = {item.label: wanted[item.label] - len(item.runs) for item in (entry, other)}
        extra = max(more.values())
        if not extra:
            return f"{names} differ by too little to matter, or by chance"
        times = [
            more[item.label] * item.run_seconds
            for item in (entry, other)
            if item.run_seconds is not None
        ]
        time = f", about {phrases.duration_text(sum(times))}" if len(times) == 2 else ""
        return (
            f"{extra} more seed{'s' * (extra > 1)} of {names} would settle it{time}, "
            "if they differ as much as seen here"
        )
