"""The plan against what is really loaded, trained and counted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from tests.running.tiny_study import tiny_study
from tuneoff.errors import StudyError
from tuneoff.planning.duration import token_operations
from tuneoff.planning.machine import Machine, measure
from tuneoff.planning.memory import weight_bytes
from tuneoff.planning.plan import Plan, make_plan
from tuneoff.planning.survey import options_of
from tuneoff.study import Study, load_study

METHODS = ["full", "last_layer", "top_blocks", "bitfit", "lora", "ia3", "adapter"]
MACHINE = Machine("cpu", "a [tested] machine", 2, 0, 8_000_000_000, 50e9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan")


def study(folder: Path, **changes: Any) -> Study:
    return load_study(tiny_study(folder, **{"methods": METHODS, **changes}))


def plan(folder: Path, machine: Machine = MACHINE, **changes: Any) -> Plan:
    return make_plan(study(folder, **changes), machine=machine)


@pytest.mark.parametrize("quantization", ["none", "nf4", "fp4", "int8"])
def test_weights_are_predicted_to_the_byte_of_what_is_loaded(
    folder: Path, quantization: str
) -> None:
    from tuneoff.backbones.backbone import load

    made = plan(folder, methods=["lora"])
    spec = made.runs("run")[0]
    changed = spec.backbone.model_copy(update={"quantization": quantization})
    spec = spec.model_copy(update={"backbone": changed})
    loaded = load(options_of(changed), classes=("a", "b"))
    held = 0
    for parameter in loaded.model.parameters():
        held += parameter.nbytes
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            held += state.absmax.nbytes
            held += state.state2.absmax.nbytes if state.nested else 0
        scale = getattr(parameter, "SCB", None)
        held += scale.nbytes if scale is not None else 0
    facts = make_plan(
        study(folder, methods=["lora"], backbones=[_quantized(folder, quantization)]),
        machine=MACHINE,
    ).survey
    backbone = next(iter(facts.backbones.values()))
    predicted = sum(weight_bytes(spec, site) for site in backbone.sites)
    assert predicted == pytest.approx(held, rel=0.002)
    plain = sum(4 * site.parameters for site in backbone.sites)
    assert (predicted < 0.9 * plain) == (quantization != "none")


def _quantized(folder: Path, quantization: str) -> dict[str, Any]:
    return {"name": "bert", "model": str(folder / "bert"), "quantization": quantization}


def test_trained_parameters_are_those_that_train(folder: Path) -> None:
    from tuneoff.running.materials import loaded
    from tuneoff.training.member import Member

    made = plan(folder)
    for spec in made.runs("run")[::2]:
        facts = made.survey.method(spec)
        member = Member(spec, loaded(spec).material)
        assert facts.trainable == member.parameters.count, spec.label
        assert facts.lowest == max(0, member.lowest_block)


def test_operations_are_those_that_torch_counts(folder: Path) -> None:
    """The oracle counts a forward pass of the Hugging Face model on one long sequence."""
    import transformers

    made = plan(folder, methods=["lora"])
    spec = made.runs("run")[0]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder / "bert", attn_implementation="eager"
    )
    tokens = 40
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.bert.encoder(torch.zeros(1, tokens, 64))
    data = made.survey.of_data(spec)
    one = replace(data, examples={"train": 1}, tokens={"train": tokens}, squares={"train": 1600})
    counted = counter.get_total_flops()
    backbone = made.survey.backbone(spec)
    assert tokens * token_operations(backbone, one, 0) == pytest.approx(counted, rel=1e-6)
    assert tokens * token_operations(backbone, one, 2) == pytest.approx(counted / 3, rel=1e-6)


def test_every_run_is_in_one_cohort_and_seeds_are_spread(folder: Path) -> None:
    made = plan(folder, seeds=[3, 4, 5], tuning={"probes": 3})
    placed = [run for cohort in made.cohorts for run in cohort.run_ids]
    assert sorted(placed) == sorted(made.specs)
    assert len(made.runs("probe")) == 3 * len(METHODS)
    kinds = [cohort.kind for cohort in made.cohorts]
    assert kinds == sorted(kinds)  # probes first
    alone = [c for c in made.cohorts_of("run") if len(c.run_ids) == 1]
    seeds = [made.specs[c.run_ids[0]].seed for c in alone]
    assert seeds == sorted(seeds)
    heads = next(
        c for c in made.cohorts_of("run") if made.specs[c.run_ids[0]].method.name == "last_layer"
    )
    assert len(heads.run_ids) == 3  # they share the cached prefix


@pytest.mark.parametrize("architecture", ["t5", "opt"])
def test_what_has_a_family_is_planned_in_cohorts(folder: Path, architecture: str) -> None:
    """T5 as BERT: seeds of small hooks together, and what stands on one cached prefix; what runs
    padded has its prefix alone."""
    top = {"method": "top_blocks", "k": 1}
    methods = ["last_layer", top, "lora", "full"]
    data = tiny_study(folder, architecture=architecture, methods=methods, seeds=[3, 4])
    if architecture == "t5":
        data["tasks"][0]["head_on"] = "encoder"
    made = make_plan(load_study(data), machine=MACHINE)
    (backbone,) = made.survey.backbones.values()
    assert backbone.padded == (architecture == "opt")
    together = {
        made.specs[cohort.run_ids[0]].method.name
        for cohort in made.cohorts
        if len(cohort.run_ids) == 2
    }
    assert together == (set() if backbone.padded else {"last_layer", "top_blocks", "lora"})
    cached = {
        made.specs[run].method.name
        for run, one in made.predictions.items()
        if one.duration.prefix > 0
    }
    assert cached == {"last_layer", "top_blocks"}


def test_halved_probes_are_planned_rung_by_rung(folder: Path) -> None:
    """27 probes of 54 steps, halving 3: at step 2 the best 9 go on, as if they had been told to."""
    training = {"max_steps": 108, "batch_size": 8, "warmup_steps": 0}
    changes: dict[str, Any] = {"methods": ["lora", "full"], "training": training}
    whole = plan(folder, tuning={"probes": 27}, **changes)
    halved = study(folder, tuning={"probes": 27, "halving": 3}, **changes)
    first = make_plan(halved, machine=MACHINE)
    assert {cohort.until for cohort in first.cohorts_of("probe")} == {2}
    assert {cohort.until for cohort in first.cohorts_of("run")} == {None}
    assert first.seconds < whole.seconds
    assert "54 learning-rate probes, most of them stopped early" in " ".join(
        _rendered(first).split()
    )
    assert "stopped early" not in _rendered(whole)
    for race in first.races.values():
        assert race.share * 27 + race.later == pytest.approx(3.0)
    own = [spec for spec in first.runs("probe") if spec.method.name == "full"]
    lines = [
        {
            "run_id": spec.run_id,
            "learning_rate": spec.learning_rate,
            "status": "stopped",
            "rungs": [{"step": 2, "validation": {"accuracy": 0.5, "loss": float(place)}}],
        }
        for place, spec in enumerate(own)
    ]
    training["warmup_steps"] = 3  # no rung before its end
    late = study(folder, tuning={"probes": 27, "halving": 3}, **changes)
    assert {c.until for c in make_plan(late, machine=MACHINE).cohorts_of("probe")} == {3}
    second = make_plan(halved, machine=MACHINE, probes=lines, earlier=first.to_json())
    todo = {cohort.until: set[str]() for cohort in second.cohorts_of("probe")}
    for cohort in second.cohorts_of("probe"):
        todo[cohort.until] |= set(cohort.run_ids)
    assert todo[6] == {spec.run_id for spec in own[:9]}
    assert len(todo[2]) == 27  # lora's, as planned before
    kept = {cohort.id: cohort for cohort in first.cohorts}
    assert all(kept[c.id] == c for c in second.cohorts_of("probe") if c.until == 2)


def test_plans_are_the_same_every_time(folder: Path) -> None:
    assert plan(folder).to_json() == plan(folder).to_json()


def test_an_extended_study_keeps_the_cohorts_that_are_not_done(folder: Path) -> None:
    first = make_plan(study(folder, methods=["lora", "last_layer"]), machine=MACHINE)
    done = set(first.cohorts[0].run_ids)
    second = make_plan(
        study(folder, methods=["bitfit", "lora", "last_layer"], seeds=[0, 1, 2]),
        machine=MACHINE, earlier=first.to_json(), finished=done,
    )  # fmt: skip
    kept = {cohort.id: cohort.run_ids for cohort in second.cohorts}
    for cohort in first.cohorts[1:]:
        assert kept[cohort.id] == cohort.run_ids
    placed = [run for cohort in second.cohorts for run in cohort.run_ids]
    assert len(placed) == len(set(placed)) == 9 - len(done)
    assert not done & set(placed)


def test_what_does_not_fit_is_said_and_can_be_forced(folder: Path) -> None:
    small = replace(MACHINE, memory_bytes=600_000_000)
    made = plan(folder, small)
    full = next(spec for spec in made.runs("run") if spec.method.name == "full")
    assert made.predictions[full.run_id].reason is None  # tiny models fit even there
    smaller = replace(MACHINE, memory_bytes=100_000_000)
    refused = plan(folder, smaller)
    reason = refused.predictions[full.run_id].reason
    assert reason is not None
    assert "0.1 GB are free" in reason
    assert refused.cohorts == ()
    assert "will be skipped" in _rendered(refused)
    forced = make_plan(study(folder), machine=smaller, force=True)
    assert len(forced.cohorts) > 0


def test_rows_are_read_once_for_all_backbones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.backbones.tiny import save
    from tuneoff.data import encoded

    read: list[str] = []

    def counting(task: Any, dataset: Any, **settings: Any) -> Any:
        read.append(dataset.title)
        return split_rows(task, dataset, **settings)

    split_rows = encoded.split_rows
    monkeypatch.setattr(encoded, "split_rows", counting)
    save("roberta", folder / "roberta", classes=2)
    backbones = [{"name": name, "model": str(folder / name)} for name in ("bert", "roberta")]
    made = plan(folder, backbones=backbones, methods=["lora", "bitfit"])
    assert len(read) == 1
    assert len(made.survey.data) == 2  # two tokenizers
    plan(folder, methods=["lora"], training={"epochs": 1})
    assert len(read) == 2


def test_the_table_is_80_columns_wide(folder: Path) -> None:
    text = _rendered(plan(folder, tuning={"probes": 3}))
    assert max(map(len, text.splitlines())) <= 80
    for method in METHODS:
        assert method in text
    assert "a [tested] machine" in text


def _rendered(made: Plan) -> str:
    stream = io.StringIO()
    made.render(Console(file=stream, width=80))
    return stream.getvalue()


def test_the_plan_is_json(folder: Path) -> None:
    data = json.loads(json.dumps(plan(folder).to_json()))
    assert {run["run_id"] for run in data["runs"]} == set(plan(folder).specs)
    assert data["machine"]["name"] == MACHINE.name


def test_a_method_that_does_not_fit_the_backbone_is_refused(folder: Path) -> None:
    with pytest.raises(StudyError, match="full"):
        plan(folder, methods=["full"], backbones=[_quantized(folder, "nf4")])


def test_this_machine_can_be_measured() -> None:
    machine = measure("cpu", memory_gb=1.5)
    assert machine.flops > 1e8
    assert machine.memory_bytes <= 1_500_000_000
    assert machine.cores >= 1
