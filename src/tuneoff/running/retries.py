"""What is done when a cohort does not come to its end.

Out of memory: a smaller pass at the same effective batch, from the checkpoint; when a pass is one
example, smaller cohorts; alone and still too large is a result, `out_of_memory`.
A worker that died: once more from the checkpoint, then each run alone, then `failed`. Deaths count
only while nothing is gained: a checkpoint between two of them starts the count anew. A SIGKILL
that was not the kernel's for memory came from outside, and says little about the run: it may come
more often.
Anything else that is raised: each run alone once, then `failed`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuneoff.planning.cohorts import Cohort
from tuneoff.running.pool import Died
from tuneoff.running.worker import Failure

_DEATHS = 1
_KILLS = 10


@dataclass(frozen=True)
class GiveUp:
    """The cohort's runs end with this status and reason."""

    status: str
    reason: str


def after(
    cohort: Cohort, trouble: Failure | Died, batch_tokens: int, gained: bool
) -> list[Cohort] | GiveUp:
    """The cohorts to try in its place.

    batch_tokens: real tokens of a whole batch of all members; gained: a checkpoint was written
    since the last trouble.
    """
    cohort = replace(cohort, failures=0) if gained else cohort
    if isinstance(trouble, Died):
        if trouble.memory:
            return _less_memory(cohort, "the kernel killed the worker for memory", batch_tokens)
        return _after_death(cohort, trouble)
    if trouble.kind == "memory":
        return _less_memory(cohort, trouble.reason, batch_tokens)
    if trouble.kind == "user":
        return GiveUp("failed", trouble.reason)  # it says what to do, and that is not to try again
    return _alone(cohort, trouble.reason)


def _less_memory(cohort: Cohort, what: str, batch_tokens: int) -> list[Cohort] | GiveUp:
    members = len(cohort.run_ids)
    before = cohort.micro_batch_tokens or batch_tokens
    half = before // 2
    if half >= members:  # one token each: then every example is a pass of its own
        note = f"out of memory ({what}): passes of at most {half} tokens, the batch as it was"
        smaller = replace(
            cohort,
            micro_batch_tokens=half,
            evaluation_tokens=max(1, cohort.evaluation_tokens // 2),
            generation_tokens=max(1, cohort.generation_tokens // 2),
        )
        return [replace(smaller, retries=(*cohort.retries, note))]
    if members > 1:
        middle = members // 2
        note = f"out of memory ({what}): a cohort of {members} became two"
        return cohort.split([cohort.run_ids[:middle], cohort.run_ids[middle:]], note)
    return GiveUp("out_of_memory", f"out of memory with one example at a time, alone: {what}")


def _after_death(cohort: Cohort, died: Died) -> list[Cohort] | GiveUp:
    allowed = _KILLS if died.cause == "SIGKILL" else _DEATHS
    what = f"its worker died ({died.cause})"
    if cohort.failures < allowed:
        retries = (*cohort.retries, f"{what}; went on from the last checkpoint")
        return [replace(cohort, failures=cohort.failures + 1, retries=retries)]
    return _alone(cohort, f"{what} {cohort.failures + 1} times in a row")


def _alone(cohort: Cohort, what: str) -> list[Cohort] | GiveUp:
    if len(cohort.run_ids) > 1:
        note = f"{what}; each run of the cohort was tried alone"
        return cohort.split([[run] for run in cohort.run_ids], note)
    if any("was tried alone" in note for note in cohort.retries) or cohort.failures:
        return GiveUp("failed", what)
    note = f"{what}; was tried alone once more"
    return [replace(cohort, failures=0, retries=(*cohort.retries, note))]
