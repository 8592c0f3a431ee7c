"""Runs: what is resolved, what names them, and the probes for their learning rates."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneoff import identity, registry
from tuneoff.errors import StudyError
from tuneoff.methods.full import Full
from tuneoff.methods.lora import LoRA
from tuneoff.probes import choose_rates, expand_probes, probed_rates
from tuneoff.runs import Contest, RunSpec, expand, with_rate
from tuneoff.study import BackboneSpec, load_study

METHODS: list[Any] = ["full", {"lora": {"rank": 4}}, "qlora"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"word {i},{i % 2}\n" for i in range(40)))
    return path


def shape(backbone: BackboneSpec, head: str) -> Any:
    return SimpleNamespace(kind="decoder" if backbone.name == "dec" else "encoder")


def runs(rows: Path, changes: dict[str, Any] | None = None, **rates: float) -> list[RunSpec]:
    return expand(_study(rows, changes), _contests(rates), inspect=shape)


def _contests(rates: dict[str, float]) -> dict[Contest, float]:
    return {Contest("enc", "t", method): rate for method, rate in rates.items()}


def _study(rows: Path, changes: dict[str, Any] | None = None) -> Any:
    written = {
        "backbones": [{"name": "enc", "model": "a/b"}],
        "tasks": [
            {
                "name": "t",
                "task": "text_classification",
                "data": {"dataset": "csv", "train": str(rows)},
            }
        ],
        "methods": METHODS,
        "seeds": 2,
        "device": "cpu",
    }
    return load_study(written, changes)


def test_everything_is_resolved(rows: Path) -> None:
    found = runs(rows, {"methods[0].learning_rate": 0.5, "methods[1].training": {"epochs": 7}})
    assert [(run.method.name, run.seed) for run in found] == [
        (name, seed) for name in ("full", "lora", "qlora") for seed in (0, 1)
    ]
    by_name = {run.method.name: run for run in found}
    assert by_name["full"].learning_rate == by_name["full"].method.settings.learning_rate == 0.5
    assert by_name["full"].rate_from == "study"
    assert by_name["lora"].learning_rate == LoRA.rates["encoder"].default
    assert by_name["lora"].rate_from == "method"
    assert by_name["lora"].training.epochs == 7
    assert by_name["full"].training.epochs != 7
    assert by_name["qlora"].backbone.quantization == "nf4"
    assert by_name["lora"].backbone.quantization == "none"
    assert by_name["full"].label == "enc / t / full / seed 1"


def test_default_rates_follow_the_kind_of_backbone(rows: Path) -> None:
    encoder = runs(rows)[0].learning_rate
    decoder = runs(rows, {"backbones[0].name": "dec"})[0].learning_rate
    assert encoder == Full.rates["encoder"].default
    assert decoder == Full.rates["decoder"].default
    assert encoder != decoder


def test_run_id_is_of_content(rows: Path, tmp_path: Path) -> None:
    first = {run.run_id for run in runs(rows)}
    assert len(first) == 6
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in first)
    assert {run.run_id for run in runs(rows, {"name": "renamed", "budget.workers": 3})} == first
    assert {run.run_id for run in runs(rows, {"seeds": 3})} > first
    assert {run.run_id for run in runs(rows, {"training.epochs": 3.0})} == first
    moved = tmp_path / "moved.csv"
    moved.write_bytes(rows.read_bytes())
    assert {run.run_id for run in runs(moved)} == first


@pytest.mark.parametrize(
    "change",
    [
        {"training.epochs": 4},
        {"training.weight_decay": 0.02},
        {"backbones[0].dtype": "bfloat16"},
        {"tasks[0].max_length": 64},
        {"tasks[0].data.limit": {"train": 20}},
        {"tasks[0].data.drop_leaked": True},
        {"tasks[0].metric": "macro_f1"},
        {
            "methods": [
                {"full": {"learning_rate": 1e-4}},
                {"lora": {"rank": 8}},
                {"qlora": {"rank": 9}},
            ]
        },
        {"device": "cuda"},
        {"evaluation.interpolation": [0.0, 0.5]},
        {"tasks[0].data.shift": {"more": {"dataset": "synthetic", "test": 20}}},
    ],
)
def test_what_changes_the_numbers_changes_the_id(rows: Path, change: dict[str, Any]) -> None:
    before = {run.run_id for run in runs(rows)}
    after = {run.run_id for run in runs(rows, change)}
    assert not before & after


def test_data_backbone_and_code_are_in_the_id(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs(rows)[0].run_id
    rows.write_text(rows.read_text().replace("word 3,", "word three,"))
    changed_data = runs(rows)[0].run_id
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.bin").write_bytes(bytes(3 << 20))
    changes = {"backbones[0].model": str(model)}
    folder = runs(rows, changes)[0].run_id
    same = runs(rows, changes)[0].run_id
    (model / "weights.bin").write_bytes(bytes(3 << 20)[:-1] + b"x")
    changed_weights = runs(rows, changes)[0].run_id
    monkeypatch.setattr(identity, "code_version", lambda: "other")
    changed_code = runs(rows, changes)[0].run_id
    assert folder == same
    assert len({before, changed_data, folder, changed_weights, changed_code}) == 5


def test_plug_ins_are_in_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity.part_code(LoRA) == []
    file = tmp_path / "methods" / "own.py"
    file.parent.mkdir()
    monkeypatch.setenv("TUNEOFF_PLUGINS", str(tmp_path))
    file.write_text("from tuneoff.methods.lora import LoRA\n\nclass Own(LoRA):\n    pass\n")
    part = registry.get("methods", "own")
    before = identity.part_code(part, LoRA)
    assert len(before) == 1
    file.write_text(file.read_text() + "# changed\n")
    assert identity.part_code(part, LoRA) != before


def test_copies_have_ids_of_their_own(rows: Path) -> None:
    run = runs(rows)[0]
    assert run.run_id == run.run_id
    other = with_rate(run, 0.25, "probes")
    assert other.run_id != run.run_id
    assert other.method.settings.learning_rate == 0.25
    assert pickle.loads(pickle.dumps(run)).run_id == run.run_id


def test_found_rates_replace_defaults_only(rows: Path) -> None:
    found = runs(rows, {"methods[1].learning_rate": 0.5}, full=0.125, lora=0.25)
    chosen = {run.method.name: (run.learning_rate, run.rate_from) for run in found}
    assert chosen["full"] == (0.125, "probes")
    assert chosen["lora"] == (0.5, "study")
    assert chosen["qlora"][1] == "method"


def test_probes_are_as_many_for_every_method(rows: Path) -> None:
    study = _study(rows, {"training.max_steps": 9})
    probes = expand_probes(study, inspect=shape)
    assert [probe.method.name for probe in probes] == ["full"] * 3 + ["lora"] * 3 + ["qlora"] * 3
    assert {probe.seed for probe in probes}.isdisjoint(study.seeds)
    assert {probe.training.max_steps for probe in probes} == {4}
    assert {probe.kind for probe in probes} == {"probe"}
    assert len({probe.run_id for probe in probes}) == 9
    assert not expand_probes(_study(rows, {"tuning.probes": 0}), inspect=shape)
    given_rate = _study(rows, {"methods[1].learning_rate": 0.5})
    assert {p.method.name for p in expand_probes(given_rate, inspect=shape)} == {"full", "qlora"}


@given(
    st.lists(st.sampled_from([10**-n for n in range(1, 7)]), min_size=1, unique=True),
    st.integers(1, 16),
)
def test_probed_rates_cover_the_grid(grid: list[float], count: int) -> None:
    rates = probed_rates(grid[0], tuple(grid), count)
    assert len(rates) == len(set(rates)) == count
    assert rates == sorted(rates)
    if 1 < count <= len(grid):
        assert set(rates) <= set(grid)
        assert (rates[0], rates[-1]) == (min(grid), max(grid))
    if count > len(grid):
        assert set(grid) <= set(rates)


def test_probed_rates_by_hand() -> None:
    grid = (1e-5, 1e-4, 1e-3)
    assert probed_rates(1e-4, grid, 1) == [1e-4]
    assert probed_rates(1e-4, grid, 2) == [1e-5, 1e-3]
    assert probed_rates(1e-4, grid, 4) == [1e-5, pytest.approx(math.sqrt(1e-9)), 1e-4, 1e-3]


def _row(method: str, rate: float, score: float | None, loss: float = 1.0) -> dict[str, Any]:
    return {
        "kind": "probe",
        "backbone": "enc",
        "task": "t",
        "method": method,
        "learning_rate": rate,
        "status": "diverged" if score is None else "done",
        "metrics": {} if score is None else {"validation": {"accuracy": score, "loss": loss}},
    }


def test_the_best_rate_is_chosen(rows: Path) -> None:
    found = choose_rates(
        _study(rows),
        [
            *(_row("full", *pair) for pair in [(1e-5, 0.5), (1e-4, 0.7), (1e-3, None)]),
            _row("lora", 1e-4, 0.6, loss=0.9),
            _row("lora", 1e-3, 0.6, loss=0.8),
            _row("qlora", 1e-4, None),
        ],
    )
    full = found[Contest("enc", "t", "full")]
    assert (full.rate, full.at_edge) == (1e-4, False)
    assert full.curve == ((1e-5, 0.5), (1e-4, 0.7), (1e-3, None))
    lora = found[Contest("enc", "t", "lora")]
    assert (lora.rate, lora.at_edge) == (1e-3, True)
    assert Contest("enc", "t", "qlora") not in found


def test_a_lead_of_a_few_rows_is_a_tie(rows: Path) -> None:
    """250 rows: one standard error of a share of 0.25 is 2.7 points."""

    def rate(lead: float) -> float:
        probes = [
            _row("full", 1e-5, 0.25 + lead, loss=1.59),
            _row("full", 1e-4, 0.25, loss=1.50),
            _row("full", 1e-3, 0.25, loss=1.57),
        ]
        found = choose_rates(_study(rows), [{**p, "data": {"validation": 250}} for p in probes])
        return found[Contest("enc", "t", "full")].rate

    assert rate(0.01) == 1e-4
    assert rate(0.05) == 1e-5


def test_a_metric_where_lower_is_better(rows: Path) -> None:
    study = _study(rows, {"tasks[0].metric": "loss"})
    rows_of = [_row("full", 1e-5, 0.9, loss=0.5), _row("full", 1e-4, 0.1, loss=0.4)]
    assert choose_rates(study, rows_of)[Contest("enc", "t", "full")].rate == 1e-4


def test_a_grid_of_ones_own_is_probed_and_leaves_the_runs_as_they_are(rows: Path) -> None:
    grid = [1e-3, 3e-3, 9e-3]
    own = _study(rows, {"methods[0].learning_rates": grid})
    assert [
        r.learning_rate for r in expand_probes(own, inspect=shape) if r.method.name == "full"
    ] == grid
    chosen = expand(own, _contests({"full": 3e-3}), inspect=shape)
    plain = runs(rows, {"methods[0].learning_rate": 3e-3})
    assert [r.run_id for r in chosen] == [r.run_id for r in plain]
    with pytest.raises(StudyError, match="learning_rates has no effect"):
        _study(rows, {"methods[0].learning_rates": grid, "methods[0].learning_rate": 1e-3})
