"""The ladder of retries: what follows on what, and that it ends."""

from __future__ import annotations

from tuneoff.planning.cohorts import Cohort
from tuneoff.running.pool import Died
from tuneoff.running.retries import GiveUp, after
from tuneoff.running.worker import Failure

MEMORY = Failure("memory", "MemoryError: too much", "trace")
CRASH = Failure("crash", "ZeroDivisionError: a bug", "trace")
SEGFAULT = Died("SIGSEGV", memory=False)
KILLED = Died("SIGKILL", memory=False)
BATCH_TOKENS = 640


def cohort(members: int) -> Cohort:
    return Cohort("c0", "run", tuple(f"run{i}" for i in range(members)), 10.0, 1000)


def ladder(start: Cohort, trouble: Failure | Died, gained: bool = False) -> list[Cohort | GiveUp]:
    """Everything that follows when nothing ever works, until every run has given up."""
    seen: list[Cohort | GiveUp] = []
    waiting = [start]
    while waiting:
        assert len(seen) < 500, "the ladder does not end"
        verdict = after(waiting.pop(0), trouble, BATCH_TOKENS, gained)
        if isinstance(verdict, GiveUp):
            seen.append(verdict)
        else:
            seen += verdict
            waiting = [*verdict, *waiting]
    return seen


def test_out_of_memory_halves_the_pass_and_then_the_cohort() -> None:
    steps = ladder(cohort(2), MEMORY)
    passes = [step.micro_batch_tokens for step in steps if isinstance(step, Cohort)]
    assert passes[:4] == [320, 160, 80, 40]
    assert all(step.run_ids == ("run0", "run1") for step in steps[:4] if isinstance(step, Cohort))
    ends = [step for step in steps if isinstance(step, GiveUp)]
    assert [end.status for end in ends] == ["out_of_memory", "out_of_memory"]
    alone = [step for step in steps if isinstance(step, Cohort) and len(step.run_ids) == 1]
    assert {step.run_ids for step in alone} == {("run0",), ("run1",)}
    assert "320 tokens" in alone[-1].retries[0]
    assert any("became two" in note for note in alone[-1].retries)


def test_a_kill_for_memory_is_out_of_memory() -> None:
    verdict = after(cohort(1), Died("SIGKILL", memory=True), BATCH_TOKENS, False)
    assert isinstance(verdict, list)
    assert verdict[0].micro_batch_tokens == 320


def test_a_crash_is_tried_alone_once() -> None:
    verdict = after(cohort(3), CRASH, BATCH_TOKENS, False)
    assert isinstance(verdict, list)
    assert [one.run_ids for one in verdict] == [("run0",), ("run1",), ("run2",)]
    assert len({one.id for one in verdict}) == 3
    end = after(verdict[0], CRASH, BATCH_TOKENS, False)
    assert end == GiveUp("failed", "ZeroDivisionError: a bug")


def test_a_crash_of_a_run_that_was_alone_is_tried_once_more() -> None:
    steps = ladder(cohort(1), CRASH)
    assert len(steps) == 2
    assert steps[-1] == GiveUp("failed", "ZeroDivisionError: a bug")


def test_an_error_for_people_is_not_tried_again() -> None:
    trouble = Failure("user", "bitsandbytes is missing", "trace")
    assert after(cohort(2), trouble, 640, False) == GiveUp("failed", "bitsandbytes is missing")


def test_a_death_is_retried_from_the_checkpoint_and_then_alone() -> None:
    steps = ladder(cohort(2), SEGFAULT)
    first = steps[0]
    assert isinstance(first, Cohort)
    assert first.run_ids == ("run0", "run1")
    assert first.id == "c0"
    ends = [step for step in steps if isinstance(step, GiveUp)]
    assert [end.status for end in ends] == ["failed", "failed"]
    assert all("SIGSEGV" in end.reason for end in ends)
    assert len(steps) <= 8


def test_kills_from_outside_may_come_often_and_progress_forgives_them() -> None:
    one: list[Cohort] | GiveUp = [cohort(2)]
    for _ in range(10):
        assert isinstance(one, list)
        one = after(one[0], KILLED, BATCH_TOKENS, False)
        assert isinstance(one, list)
        assert one[0].run_ids == ("run0", "run1")
    worn = one
    assert isinstance(worn, list)
    split = after(worn[0], KILLED, BATCH_TOKENS, False)
    assert isinstance(split, list)
    assert len(split) == 2
    forgiven = after(worn[0], KILLED, BATCH_TOKENS, True)
    assert isinstance(forgiven, list)
    assert forgiven[0].run_ids == ("run0", "run1")
