"""How sure a comparison is: intervals, paired tests and ties, from seeds and test rows together.

A score moves for two reasons: another seed trains another model, and other test rows would have
been harder or easier. Each run gives its score; resampling the test rows, the same ones for every
run, gives the covariance of the scores of all runs. A mean or a difference is a weighted sum of
runs, so both parts follow for any of them:

    rows:  weights' covariance weights
    seeds: per method, (variance over seeds - what the rows explain of it) / seeds

Each part enters an interval with its own Student quantile, because a thousand rows are many and
three seeds are few. Every pair of methods is tested and the p-values are corrected together (Holm),
so that picking the best one first does not make its lead look surer than it is.
docs/statistics.md has the reasons, and how often this was right in simulations.

Letters: R runs. `tuneoff.resampling` makes the covariance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy import optimize, special

from tuneoff.resampling import RunScores

PRIOR_DF = 3
"""How many degrees of freedom the other methods' spread over seeds lends to a method."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference, with the variances of its two parts and their degrees of freedom."""

    value: float
    by_rows: float
    rows_df: float
    by_seeds: float = 0.0
    seeds_df: float = 1.0
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def half_width(self, alpha: float) -> float:
        """Of the two-sided interval that misses with probability `alpha`.

        Quantiles per part, not one for their sum: never too narrow, whichever part is greater.
        Source: Banerjee 1960, https://www.jstor.org/stable/25048473.
        """
        rows = special.stdtrit(self.rows_df, alpha / 2) ** 2 * self.by_rows
        seeds = special.stdtrit(self.seeds_df, alpha / 2) ** 2 * self.by_seeds
        return float(np.sqrt(rows + seeds))

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided confidence interval, cut at what the score can be."""
        half = self.half_width(1 - level)
        low, high = self.bounds
        return max(self.value - half, low), min(self.value + half, high)

    @cached_property
    def p(self) -> float:
        """Two-sided p-value of no difference: the alpha whose interval just reaches 0."""
        least, most = np.log(1e-12), np.log(1 - 1e-9)

        def excess(log_alpha: float) -> float:
            return self.half_width(float(np.exp(log_alpha))) - abs(self.value)

        if excess(most) >= 0:
            return 1.0
        if excess(least) <= 0:
            return 1e-12
        return float(np.exp(optimize.brentq(excess, least, most, xtol=1e-6)))


@dataclass(frozen=True)
class Spread:
    """How a method's score moves with the seed, on fixed test rows: variances of one run."""

    by_rows: float
    """What these rows explain: equally good models that err on other rows."""
    excess: float
    """What they do not: some seeds train a better model. Never below 0."""
    df: float

    @property
    def variance(self) -> float:
        return self.by_rows + self.excess


class Comparison:
    """All comparisons of the methods of one contest.

    `runs`: method -> indices of its runs in `scores`, at least one each.
    """

    def __init__(self, scores: RunScores, runs: Mapping[str, Sequence[int]]):
        self.scores = scores
        self.runs = {method: np.asarray(indices) for method, indices in runs.items()}

    @property
    def seeds_measured(self) -> bool:
        """False when no method has two runs, so that nothing is known about seeds."""
        return any(len(indices) > 1 for indices in self.runs.values())

    @cached_property
    def _pooled(self) -> Spread:
        """The usual spread of a method, with the degrees of freedom of all."""
        parts = [self._observed(runs) for runs in self.runs.values() if len(runs) > 1]
        df = sum(part.df for part in parts)
        by_rows = sum(part.by_rows * part.df for part in parts) / max(df, 1)
        excess = sum(part.excess * part.df for part in parts) / max(df, 1)
        return Spread(by_rows, excess, df)

    def _observed(self, runs: np.ndarray) -> Spread:
        size = len(runs)
        covariance = self.scores.covariance[np.ix_(runs, runs)]
        by_rows = float((np.trace(covariance) - covariance.sum() / size) / (size - 1))
        observed = float(np.var(self.scores.values[runs], ddof=1))
        return Spread(max(by_rows, 0.0), max(observed - by_rows, 0.0), size - 1)

    def _spread(self, method: str) -> Spread:
        """Three seeds can agree by luck, so the other methods have a say, but only upwards.

        They lend degrees of freedom: `PRIOR_DF` where this method spreads no more than is usual,
        fewer the more it does. With one run a method has the usual spread.
        Source of the idea: Smyth 2004, https://doi.org/10.2202/1544-6115.1027.
        """
        runs, usual = self.runs[method], self._pooled
        own = self._observed(runs) if len(runs) > 1 else replace(usual, df=0)
        lent = min(PRIOR_DF, usual.df - own.df)
        if own.variance > usual.variance:
            return replace(own, df=own.df + lent * usual.variance / own.variance)
        if not lent + own.df:
            return replace(own, df=1)
        variance = (lent * usual.variance + own.df * own.variance) / (lent + own.df)
        return Spread(own.by_rows, max(variance - own.by_rows, 0.0), lent + own.df)

    def mean(self, method: str) -> Estimate:
        """The score that other seeds and other test rows would give."""
        return self._estimate({method: 1.0}, self.scores.bounds)

    def difference(self, method: str, other: str) -> Estimate:
        """Score of `method` minus score of `other`, paired by test row."""
        if method == other:
            return Estimate(0.0, 0.0, 1.0)
        return self._estimate({method: 1.0, other: -1.0})

    def _estimate(
        self, signs: Mapping[str, float], bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> Estimate:
        weights = np.zeros(len(self.scores.values))
        for method, sign in signs.items():
            weights[self.runs[method]] = sign / len(self.runs[method])
        by_rows = float(weights @ self.scores.covariance @ weights) + self._few_rows()
        parts = [(self._spread(method), len(self.runs[method])) for method in signs]
        return Estimate(
            float(weights @ self.scores.values),
            by_rows,
            self.scores.rows - 1,
            *_by_seeds(parts, self._pooled.df),
            bounds,
        )

    def _few_rows(self) -> float:
        """Variance as if two more rows had been drawn, one for either side.

        Without it, methods that agree on every row of a small test set would differ by 0 +- 0.
        Source: Bonett and Price 2012, https://doi.org/10.3102/1076998611411915.
        """
        low, high = self.scores.bounds
        return 2 / (self.scores.rows + 2) ** 2 if np.isfinite(low) and np.isfinite(high) else 0.0

    @cached_property
    def best(self) -> str:
        """The method of the best mean; of equal ones the first."""
        sign = 1.0 if self.scores.higher_is_better else -1.0
        return max(self.runs, key=lambda method: sign * self.mean(method).value)

    @cached_property
    def _corrected(self) -> dict[frozenset[str], float]:
        pairs = list(combinations(self.runs, 2))
        corrected = holm([self.difference(*pair).p for pair in pairs])
        return {frozenset(pair): p for pair, p in zip(pairs, corrected, strict=True)}

    @property
    def pairs(self) -> int:
        """How many comparisons the p-values are corrected for."""
        return len(self._corrected)

    def corrected_p(self, method: str, other: str) -> float:
        """p-value of the difference, corrected for all pairs of methods."""
        return 1.0 if method == other else self._corrected[frozenset((method, other))]

    def noise_floor(self, level: float) -> float | None:
        """The least difference that shows between two groups of runs of one same setting.

        Two groups of as many seeds as the methods have (the most usual number), on these test rows,
        with the methods' pooled spread. None when no method has two runs.
        """
        if not self.seeds_measured:
            return None
        usual, sizes = self._pooled, [len(runs) for runs in self.runs.values() if len(runs) > 1]
        size = max(set(sizes), key=sizes.count)
        return Estimate(0.0, 0.0, 1.0, 2 * usual.variance / size, usual.df).half_width(1 - level)

    def seeds_needed(
        self, method: str, other: str, level: float, most: int = 100
    ) -> dict[str, int] | None:
        """Seeds in all of each of two methods that would tell them apart, if they differ as seen.

        None when more than `most`, or when only more test rows could.
        """
        alpha = (1 - level) / max(len(self._corrected), 1)
        seen = self.difference(method, other)
        have = {name: len(self.runs[name]) for name in (method, other)}
        spreads = {name: self._spread(name) for name in have}
        shared = seen.by_rows - sum(spreads[name].by_rows / have[name] for name in have)
        for size in range(max(2, min(have.values())), most + 1):
            sizes = {name: max(size, count) for name, count in have.items()}
            rows = max(shared, 0.0) + sum(spreads[name].by_rows / sizes[name] for name in have)
            grown = [
                (
                    replace(spreads[name], df=spreads[name].df + sizes[name] - have[name]),
                    sizes[name],
                )
                for name in have
            ]
            most_df = self._pooled.df + sum(sizes[name] - have[name] for name in have)
            future = Estimate(seen.value, rows, seen.rows_df, *_by_seeds(grown, most_df))
            if future.half_width(alpha) <= abs(seen.value):
                return sizes
        return None

    def rows_needed(self, method: str, other: str, level: float) -> int | None:
        """Test rows in all that would tell two methods apart with the seeds that there are.

        None when the seeds alone leave more doubt than the difference is large.
        """
        alpha = (1 - level) / max(len(self._corrected), 1)
        seen = self.difference(method, other)
        by_seeds = replace(seen, by_rows=0.0).half_width(alpha) ** 2
        room = seen.value**2 - by_seeds
        if room <= 0:
            return None
        by_rows = seen.half_width(alpha) ** 2 - by_seeds
        return int(np.ceil(max(by_rows / room, 1.0) * self.scores.rows))


def _by_seeds(parts: Sequence[tuple[Spread, int]], most_df: float) -> tuple[float, float]:
    """Variance that seeds add and its degrees of freedom (Satterthwaite); spread, seeds of each.

    `most_df`: of all methods together; what they lend each other must not count twice.
    """
    variances = [spread.excess / size for spread, size in parts]
    total = sum(variances)
    if total == 0:
        return 0.0, 1.0
    chance = sum(
        variance**2 / spread.df for variance, (spread, _) in zip(variances, parts, strict=True)
    )
    return total, min(total**2 / chance, max(most_df, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, by Holm's step-down method; in the order given.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    stepped = np.asarray(p_values, np.float64)[order] * (count - np.arange(count))
    corrected = np.empty(count)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in corrected]
