"""Which tensors stay, which seed is best, and that files are whole."""

from __future__ import annotations

import pytest
import torch

from tuneoff.errors import LedgerError
from tuneoff.winner.tensors import (
    LARGE_BYTES,
    best_run,
    load_tensors,
    prune,
    save_tensors,
    surplus,
    tensors_path,
)


def record(run_id, seed, accuracy, loss=0.5, status="done", method="full", test=0.0):
    return {
        "run_id": run_id, "seed": seed, "status": status, "method": method, "backbone": "b",
        "task": "t", "primary_metric": "accuracy",
        "metrics": {"validation": {"accuracy": accuracy, "loss": loss}, "test": {"accuracy": test}},
    }  # fmt: skip


def test_tensors_come_back_and_tied_ones_are_stored_once(tmp_path):
    shared = torch.randn(1000)
    tensors = {"a::weight": shared, "b::weight": shared, "c::bias": torch.randn(50)[10:30]}
    size = save_tensors(tmp_path, "run", tensors)
    assert size == tensors_path(tmp_path, "run").stat().st_size < 2 * 4000
    found = load_tensors(tmp_path, "run")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
    assert not list((tmp_path / "tensors").glob(".*"))


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(LedgerError, match="not there"):
        load_tensors(tmp_path, "run")
    save_tensors(tmp_path, "run", {"a::weight": torch.randn(100)})
    path = tensors_path(tmp_path, "run")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LedgerError, match="cannot be read"):
        load_tensors(tmp_path, "run")


def test_the_best_seed_is_the_best_on_validation_whatever_test_says():
    runs = [
        record("a", 0, 0.8, test=0.99), record("b", 1, 0.9, loss=0.4, test=0.1),
        record("c", 2, 0.9, loss=0.3), record("d", 3, 0.99, status="diverged"),
    ]  # fmt: skip
    assert best_run(runs)["run_id"] == "c"
    assert best_run(runs[:2])["run_id"] == "b"
    assert best_run([runs[3]]) is None
    for run in runs:  # a loss is better when it is lower
        run["primary_metric"] = "loss"
    assert best_run(runs)["run_id"] == "c"


def test_of_large_files_the_best_seeds_alone_stay():
    runs = [record("a", 0, 0.8), record("b", 1, 0.9), record("c", 2, 0.7)]
    runs += [record("x", 0, 0.1, method="lora"), record("y", 1, 0.2, method="lora")]
    sizes = {one["run_id"]: LARGE_BYTES for one in runs[:3]} | {"x": 1000, "y": 1000}
    assert surplus(runs, sizes) == ["a", "c"]
    assert surplus(runs, {**sizes, "a": LARGE_BYTES - 1}) == ["c"]
    assert surplus(runs[1:2], sizes) == []  # runs without a line yet stay


def test_pruning_removes_what_is_surplus(tmp_path, monkeypatch):
    monkeypatch.setattr("tuneoff.winner.tensors.LARGE_BYTES", 1000)
    runs = [record("a", 0, 0.8), record("b", 1, 0.9)]
    for run in runs:
        save_tensors(tmp_path, run["run_id"], {"w::weight": torch.zeros(1000)})
    save_tensors(tmp_path, "small", {"w::weight": torch.zeros(10)})
    assert prune(tmp_path, [*runs, record("small", 3, 0.1)]) == ["a"]
    assert {path.stem for path in (tmp_path / "tensors").iterdir()} == {"b", "small"}
