"""Successive halving of a contest's probes: after a rung only the best go on.

All probes train under the schedule of their whole length, so that a probe that goes on is the same
as one that was never asked. At each rung, `steps / eta^k` for k = K .. 1 with `eta^K <= probes`,
those still in the race are scored on the validation split, and the best `1 / eta` of them go on.
No rung comes before the end of the warm-up, where no probe has trained at its own rate yet.
Source: Karnin et al. 2013; Jamieson and Talwalkar, arXiv 1502.07943; Hyperband, arXiv 1603.06560.

Who goes on is a function of the probes' lines alone: a study that was killed comes to the same
choice again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuneoff.probes import Score, leader, score_of

Line = Mapping[str, Any]
"""A probe's line of `probes.jsonl`."""


class Rung(NamedTuple):
    """After `step` steps the best `keep` go on."""

    step: int
    keep: int


@dataclass(frozen=True)
class Race:
    """Where a contest's probes stand.

    racing: run ids still in the race; due: those of them that train now, up to step `until` (None:
    to their end), which is `share` of a whole probe; later: what is left after that, in whole
    probes; begun: the step of the last rung that was decided.
    """

    racing: tuple[str, ...]
    due: tuple[str, ...]
    until: int | None
    share: float
    later: float
    begun: int


def rungs(probes: int, eta: int | None, steps: int, warmup: int = 0) -> tuple[Rung, ...]:
    """The rungs of so many probes of `steps` steps, in the first `warmup` of which the rate rises;
    rungs that fall on one step are one."""
    if eta is None:
        return ()
    found: dict[int, int] = {}
    power = 1
    while power * eta <= probes:
        power *= eta
    keep = probes
    while power > 1:
        keep = -(-keep // eta)
        step = max(1, warmup, round(steps / power))
        if step < steps:
            found[step] = keep
        power //= eta
    return tuple(Rung(step, keep) for step, keep in found.items())


def race(
    probes: Sequence[str],
    eta: int | None,
    steps: int,
    lines: Mapping[str, Line],
    out: Collection[str],
    metric: str,
    warmup: int = 0,
) -> Race:
    """The race of one contest as its lines tell it.

    probes: run ids; steps, warmup: of each; lines: by run id; out: probes that train no further,
    whatever their line says (they failed, or will not fit); metric: what validation is judged by.
    """
    ladder = rungs(len(probes), eta, steps, warmup)
    racing, begun = list(probes), 0
    for place, rung in enumerate(ladder):
        scores = {run: _at(lines.get(run), rung.step, metric) for run in racing}
        due = [run for run, score in scores.items() if score is None and run not in out]
        if due:
            share, later = (rung.step - begun) / steps, _later(ladder[place:], steps)
            return Race(tuple(racing), tuple(due), rung.step, share, later, begun)
        best = _best({run: score for run, score in scores.items() if score}, rung.keep)
        racing, begun = [run for run in racing if run in best], rung.step
    due = [run for run in racing if run not in out and not _done(lines.get(run))]
    return Race(tuple(racing), tuple(due), None, (steps - begun) / steps, 0.0, begun)


def _later(ladder: Sequence[Rung], steps: int) -> float:
    """What trains from the first of these rungs on, in whole probes."""
    ends = [*(rung.step for rung in ladder[1:]), steps]
    return (
        sum(rung.keep * (end - rung.step) for rung, end in zip(ladder, ends, strict=True)) / steps
    )


def reached(line: Line | None, step: int | None) -> bool:
    """Whether a probe has come to a rung (None: to its end)."""
    return _done(line) or any(one["step"] == step for one in (line or {}).get("rungs", ()))


def _done(line: Line | None) -> bool:
    return line is not None and line["status"] == "done"


def _at(line: Line | None, step: int, metric: str) -> Score | None:
    """Its score at a rung; one that had ended before has its last."""
    if line is None:
        return None
    for one in line.get("rungs", ()):
        if one["step"] == step:
            return score_of(line, one["validation"], metric)
    return score_of(line, line["metrics"]["validation"], metric) if _done(line) else None


def _best(scores: Mapping[str, Score], keep: int) -> set[str]:
    """The run ids of the best, each found as the best of all is found among the rest."""
    left = dict(scores)
    found: set[str] = set()
    while left and len(found) < keep:
        best = leader(left.values())
        run = next(run for run, score in left.items() if score == best)
        found.add(run)
        del left[run]
    return found
