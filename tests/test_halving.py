"""Which probes go on from a rung: as sorting says, whatever was killed in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff.halving import Race, race, reached, rungs


def test_rungs_by_hand() -> None:
    assert rungs(27, 3, 540) == ((20, 9), (60, 3), (180, 1))
    assert rungs(10, 3, 90) == ((10, 4), (30, 2))  # 10, a third is 4, a third of that is 2
    assert rungs(8, 2, 80) == ((10, 4), (20, 2), (40, 1))
    assert rungs(27, None, 540) == ()
    assert rungs(3, 3, 1) == ()  # one step: nothing can stop before it
    assert rungs(9, 3, 5) == ((1, 3), (2, 1))
    assert rungs(27, 3, 6) == ((1, 3), (2, 1))  # the first two would fall on one step
    assert rungs(27, 3, 540, warmup=33) == ((33, 9), (60, 3), (180, 1))
    assert rungs(27, 3, 540, warmup=70) == ((70, 3), (180, 1))
    assert rungs(27, 3, 540, warmup=540) == ()


@given(st.integers(1, 32), st.integers(2, 6), st.integers(1, 500))
def test_rungs_rise_and_thin_out(probes: int, eta: int, steps: int) -> None:
    found = rungs(probes, eta, steps)
    places = [rung.step for rung in found]
    kept = [probes, *(rung.keep for rung in found)]
    assert places == sorted(set(places))
    assert all(0 < place < steps for place in places)
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] >= 1


class Training:
    """Probes with known scores; trains what a race says is due, and keeps their lines."""

    def __init__(self, scores: Any, eta: int | None, steps: int, metric: str = "accuracy"):
        self.scores, self.eta, self.steps, self.metric = scores, eta, steps, metric
        self.probes = [f"p{place}" for place in range(scores.shape[1])]
        self.lines: dict[str, dict[str, Any]] = {}
        self.out: set[str] = set()
        self.trained = 0

    @property
    def race(self) -> Race:
        return race(self.probes, self.eta, self.steps, self.lines, self.out, self.metric)

    def train(self, run: str, until: int | None) -> None:
        """Its line after a stage; a row of `scores` is of a rung, the last one of the end."""
        place = int(run[1:])
        ladder = [rung.step for rung in rungs(len(self.probes), self.eta, self.steps)]
        line = self.lines.setdefault(
            run, {"learning_rate": 1e-5 * (place + 1), "rungs": [], "steps": 0}
        )
        self.trained += (until or self.steps) - line["steps"]
        values = {self.metric: self.scores[ladder.index(until) if until else -1, place]}
        line |= {"status": "stopped", "steps": until or self.steps}
        if until:
            line["rungs"] = [*line["rungs"], {"step": until, "validation": values}]
        else:
            line |= {"status": "done", "metrics": {"validation": values}}

    def finish(self, draw: np.random.Generator | None = None) -> set[str]:
        """Stage by stage; with `draw`, stopped anywhere and asked again, in any order."""
        while due := self.race.due:
            until = self.race.until
            if draw is None:
                for run in due:
                    self.train(run, until)
            else:
                self.train(str(draw.choice(due)), until)
        return {run for run, line in self.lines.items() if line["status"] == "done"}


def best(scores: np.ndarray, eta: int) -> set[int]:
    """The finalists by sorting, higher is better."""
    left = np.arange(scores.shape[1])
    for row in scores[:-1]:
        left = left[np.argsort(-row[left])][: -(-len(left) // eta)]
    return set(left.tolist())


@pytest.mark.parametrize(("probes", "eta"), [(27, 3), (9, 3), (8, 2), (10, 3), (7, 2)])
def test_the_best_by_sorting_go_on(probes: int, eta: int) -> None:
    draw = np.random.default_rng(probes)
    count = len(rungs(probes, eta, 810)) + 1
    scores = draw.permuted(np.tile(np.arange(2.0, probes + 2), (count, 1)), axis=1)
    forward = Training(scores, eta, 810)
    names = {f"p{place}" for place in best(scores, eta)}
    assert forward.finish() == names
    falling = Training(-scores, eta, 810)  # the order reversed: others go on
    assert falling.finish() == {f"p{place}" for place in best(-scores, eta)} != names
    lower = Training(scores, eta, 810, "loss")  # and so they do where less is better
    assert lower.finish() == falling.finish()


def test_27_probes_cost_3() -> None:
    """Jamieson and Talwalkar: every one of the log_3 27 + 1 stages costs the same but the first's
    head start; 27 (1/27) + 9 (2/27) + 3 (2/9) + 1 (2/3) = 3."""
    scores = np.random.default_rng(0).random((4, 27))
    halved, whole = Training(scores, 3, 2700), Training(scores, None, 2700)
    first = halved.race
    assert first.share * 27 + first.later == pytest.approx(3.0)
    halved.finish()
    assert len(whole.finish()) == 27
    assert halved.trained == 3 * 2700
    assert whole.trained == 27 * 2700


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_study_comes_to_the_same_choice(seed: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.random((4, 27)) + 2
    one, other = Training(scores, 3, 540), Training(scores, 3, 540)
    assert one.finish() == other.finish(draw)
    assert one.lines == other.lines


def test_who_failed_takes_no_place_and_gives_none_back() -> None:
    scores = np.array([np.arange(9.0), np.arange(9.0), np.arange(9.0)]) + 2
    early = Training(scores, 3, 90)
    early.out = {"p8"}  # before the first rung: the next best moves up
    early.finish()
    assert [run for run, line in early.lines.items() if line["steps"] >= 30] == ["p5", "p6", "p7"]
    late = Training(scores, 3, 90)
    for run in late.race.due:
        late.train(run, 10)
    late.out = {"p8"}  # after it: whoever was stopped at the rung stays stopped
    assert late.race.due == ("p6", "p7")
    assert late.finish() == {"p7"}
    assert not reached(late.lines["p8"], 30)
    assert reached(late.lines["p8"], 10)


def test_a_probe_that_ended_early_stands_with_its_last_score() -> None:
    """An early stop, or a line of a study that stopped none."""
    scores = np.array([np.arange(9.0), np.arange(9.0), np.arange(9.0)]) + 2
    study = Training(scores, 3, 90)
    study.train("p8", None)
    assert "p8" not in study.race.due
    assert study.finish() == {"p8"}


def test_what_is_not_finite_is_worst() -> None:
    scores = np.array([[None, 3.0, 2.0], [None, 3.0, 2.0]], dtype=object)
    assert Training(scores, 3, 9, "loss").finish() == {"p2"}
    assert Training(scores, 3, 9).finish() == {"p1"}


def test_within_a_standard_error_the_loss_decides() -> None:
    """As where the rate is chosen: 0.52 of 100 rows is no better than 0.50."""

    def goes_on(rows: int) -> tuple[str, ...]:
        values = [(0.52, 0.9), (0.50, 0.7), (0.30, 0.1)]
        lines = {
            f"p{place}": {
                "learning_rate": 1e-4 * (place + 1),
                "status": "stopped",
                "data": {"validation": rows},
                "rungs": [{"step": 3, "validation": {"accuracy": score, "loss": loss}}],
            }
            for place, (score, loss) in enumerate(values)
        }
        return race(list(lines), 3, 9, lines, (), "accuracy").due

    assert goes_on(100) == ("p1",)
    assert goes_on(100_000) == ("p0",)
