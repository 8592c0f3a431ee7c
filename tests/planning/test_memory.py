"""Predicted memory against the peaks of real steps, evaluations and writing, each in a fresh
process; what is planned where memory is short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.planning import peaks
from tuneoff.planning.machine import Machine
from tuneoff.planning.memory import PROCESS_BYTES, Memory, together
from tuneoff.planning.plan import Plan, make_plan
from tuneoff.running.pool import Pool
from tuneoff.running.profile_job import ProfileOrder
from tuneoff.running.single_job import attempt
from tuneoff.running.worker import Done, Setup, job
from tuneoff.study import load_study
from tuneoff.training.outcome import Limits

MACHINE = Machine("cpu", "a machine", 2, 0, 8_000_000_000, 50e9)
FACTOR = 1.7
"""Measured over predicted lies between its inverse and it; docs/running.md has the figures."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[Pool]:
    with Pool(1, Setup(folder)) as made:
        yield made


def plan(folder: Path, *what: str, machine: Machine = MACHINE, **training: Any) -> Plan:
    return make_plan(load_study(peaks.study(folder, *what, **training)), machine=machine)


def predicted(made: Plan) -> Memory:
    return made.predictions[made.runs("run")[0].run_id].memory


def measured(pool: Pool, made: Plan, limits: Limits = Limits()) -> dict[str, Any]:
    pool.stop()
    order = ProfileOrder(made.runs("run")[0], limits)
    end = attempt(pool, job("tests.planning.peaks:measure", order))
    assert isinstance(end, Done), end
    found: dict[str, Any] = end.value
    return found


@pytest.mark.parametrize(
    "what",
    [
        ("mini-bert", "classify", "full"),
        ("mini-gpt2", "model", "full"),
        ("mini-gpt2", "summarize", "lora"),
        ("mini-bert", "summarize", "lora"),
    ],
    ids="-".join,
)
def test_predicted_peaks_are_near_the_measured_ones(
    folder: Path, pool: Pool, what: tuple[str, str, str]
) -> None:
    made = plan(folder, *what)
    memory, found = predicted(made), measured(pool, made)
    for work in ("activations", "evaluation", "generation"):
        if work in found:
            expected = memory.total_of(getattr(memory, work)) - memory.best
            assert expected / FACTOR < found[work] < expected * FACTOR, (
                work,
                expected,
                found[work],
            )
        else:
            assert getattr(memory, work) == 0


def test_writing_may_take_more_than_training_and_shrinks_to_what_is_free(
    folder: Path, pool: Pool
) -> None:
    what = ("mini-gpt2", "summarize", "last_layer")
    made = plan(folder, *what, batch_size=1)
    memory, whole = predicted(made), measured(pool, made)
    assert memory.generation > 2 * memory.activations
    assert whole["generation"] > memory.total_of(memory.activations)  # training alone says less
    free = int((PROCESS_BYTES + memory.total_of(memory.generation * 2 // 3)) / 0.9)
    small = plan(folder, *what, machine=replace(MACHINE, memory_bytes=free), batch_size=1)
    (cohort,) = small.cohorts
    assert (
        cohort.generation_tokens < made.cohorts[0].generation_tokens == Limits().generation_tokens
    )
    less = measured(pool, made, Limits(generation_tokens=cohort.generation_tokens))
    assert less["generation"] < whole["generation"]
    assert less["texts"] == whole["texts"]


def test_a_plan_has_room_for_the_largest_of_what_a_run_does(folder: Path) -> None:
    made = plan(folder, "mini-gpt2", "summarize", "lora", batch_size=1)
    memory = predicted(made)
    work = (memory.activations, memory.evaluation, memory.generation, memory.saving)
    assert memory.total == memory.total_of(max(work)) > memory.total_of(min(work))
    two = together([memory, memory])
    assert two == memory.total + memory.own  # they write in one batch
    assert two < 2 * memory.total
