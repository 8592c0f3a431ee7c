"""What a person may write in a study, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backbones.tiny import save
from tuneoff.errors import BackboneError, StudyError
from tuneoff.fit import check_fit
from tuneoff.methods.lora import LoRA
from tuneoff.recast.only import kept
from tuneoff.study import BackboneSpec, MethodSpec, Study, Training, load_study
from tuneoff.study_changes import parse_changes
from tuneoff.study_form import dotted
from tuneoff.study_schema import json_schema

SMALL: dict[str, Any] = {
    "backbones": ["mini-bert"],
    "tasks": ["synthetic"],
    "methods": ["full", "lora"],
}


def problems(written: Any, changes: dict[str, Any] | None = None) -> dict[str, str]:
    """Path -> message of every fault; {} when there is none."""
    try:
        load_study(written, changes)
    except StudyError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def study_file(folder: Path, text: str) -> Path:
    (folder / "rows.csv").write_text("text,label\ngood,1\n")
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_short_forms_mean_the_same() -> None:
    forms: list[Any] = [
        "lora",
        {"lora": None},
        {"lora": {}},
        {"method": "lora"},
        {"name": "lora", "method": "lora"},
        LoRA(),
        MethodSpec(name="lora", method="lora", settings=LoRA()),
    ]
    studies = [load_study(SMALL | {"methods": [form]}) for form in forms]
    assert all(study.methods == studies[0].methods for study in studies)
    other = load_study(SMALL | {"methods": [{"lora": {"rank": 16}}]})
    assert other.methods != studies[0].methods


def test_flat_and_nested_settings_reach_the_part() -> None:
    nested = load_study(SMALL | {"methods": [{"lora": {"rank": 4, "training": {"epochs": 5}}}]})
    flat = load_study(
        SMALL | {"methods": [{"method": "lora", "rank": 4, "training": {"epochs": 5}}]}
    )
    assert nested == flat
    assert isinstance(flat.methods[0].settings, LoRA)
    assert flat.methods[0].settings.rank == 4
    assert flat.training_of(flat.methods[0]).epochs == 5
    assert flat.training.epochs != 5


def test_seeds_may_be_a_number() -> None:
    assert load_study(SMALL | {"seeds": 2}).seeds == (0, 1)
    assert load_study(SMALL | {"seeds": [7, 3]}).seeds == (7, 3)
    assert "seeds" in problems(SMALL | {"seeds": 0})
    assert "seeds" in problems(SMALL | {"seeds": [1, 1]})


def test_yaml_reads_numbers_as_people_write_them(tmp_path: Path) -> None:
    """PyYAML alone takes 1e-3 for text, and `no` for false."""
    path = study_file(
        tmp_path,
        "name: no\nbackbones: [mini-bert]\ntasks: [synthetic]\n"
        "methods: [{lora: {learning_rate: 1e-3}}]\n",
    )
    study = load_study(path)
    assert study.methods[0].settings.learning_rate == 0.001
    assert study.name == "no"
    assert yaml.safe_load("1e-3") == "1e-3"


BAD = """\
name: my study
backbones: [mini-bert, {model: ./absent}, {model: mini-bert, name: b, quantisation: nf4}]
tasks:
  - text_classification:
      max_lenght: 64
      data: {dataset: csv, train: row.csv, split: {test: 1.5}, limit: {trian: 4}}
  - {name: b, task: text_clasification, data: {dataset: csv}}
  - {name: c, task: text_classification, metric: acuracy, data: {dataset: csvv, train: 5}}
methods:
  - lorra
  - {name: t2, method: lora, rank: true, learning_rate: abc, training: {optimiser: sgd}}
  - lora:
    rank: 16
  - lora: {rnk: 4, name: zz, lora_alpha: -1}
  - 7
seeds: [1, 1]
seed: 3
training: {evaluate_every: epochs, betas: [0.9, 1.5], optimizer: adam, epochs: .nan}
device: cuda
device: cpu
"""


def test_every_fault_at_once_with_path_line_and_nearest_name(tmp_path: Path) -> None:
    path = study_file(tmp_path, BAD)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    found = {problem.path: problem.message for problem in caught.value.problems}
    expected = {
        "name": "letters, digits",
        "backbones[1].model": "there is no folder",
        "backbones[2].quantisation": "did you mean 'quantization'? (line 2)",
        "tasks[0].text_classification.max_lenght": "did you mean 'max_length'? (line 5)",
        "tasks[0].text_classification.data.train": "did you mean 'rows.csv'? (line 6)",
        "tasks[0].text_classification.data.split.test": "got 1.5",
        "tasks[0].text_classification.data.limit.trian": "did you mean 'train'?",
        "tasks[1].task": "did you mean 'text_classification'? (line 7)",
        "tasks[1].data.train": "is required and not given",
        "tasks[2].data.dataset": "did you mean 'csv'?",
        "tasks[2].metric": "did you mean 'accuracy'?",
        "methods[0].method": "did you mean 'lora'? (line 10)",
        "methods[1].rank": "must be a whole number; got true (line 11)",
        "methods[1].learning_rate": "must be a number; got 'abc' (text)",
        "methods[1].training.optimiser": "did you mean 'optimizer'?",
        "methods[2]": "with the settings indented below the name",
        "methods[3].lora.rnk": "did you mean 'rank'? (line 14)",
        "methods[3].lora.lora_alpha": "must be greater than 0; got -1",
        "methods[4]": "must be a mapping",
        "seeds": "must differ from each other",
        "seed": "did you mean 'seeds'?",
        "training.evaluate_every": "must be 'epoch' or a whole number; got 'epochs'",
        "training.betas[1]": "must be less than 1; got 1.5",
        "training.optimizer": "did you mean 'adamw'?",
        "training.epochs": "must be a finite number",
        "device": "is given twice, on lines 19 and 20",
    }
    missing = {
        place: words for place, words in expected.items() if words not in found.get(place, "")
    }
    assert not missing, f"{missing}\n{caught.value}"
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"training.max_steps": 5, "training.epochs": 2}, "training.epochs", "max_steps is given"),
        (
            {"training.warmup_steps": 5, "training.warmup_ratio": 0.1},
            "training.warmup_ratio",
            "warmup_steps is given",
        ),
        (
            {"training.optimizer": "sgd", "training.betas": [0.8, 0.9]},
            "training.betas",
            "AdamW only",
        ),
        (
            {"backbones[0].compute_dtype": "bfloat16"},
            "backbones[0].compute_dtype",
            "4-bit weights only",
        ),
        ({"tuning.seed": 0}, "tuning.seed", "must not be one of the study's seeds"),
        ({"tuning.halving": 4}, "tuning.halving", "there are 3 (tuning.probes)"),
        ({"tuning.probes": 0, "tuning.halving": 2}, "tuning.halving", "there are 0"),
        ({"tuning.halving": 1}, "tuning.halving", "2"),
        ({"tuning.halving": "3"}, "tuning.halving", "whole number"),
        (
            {"methods[1]": "qlora", "backbones[0].quantization": "int8"},
            "methods[1]",
            "quantizes the backbone to nf4, and backbones[0].quantization is int8",
        ),
        ({"methods[1]": "full"}, "methods[1]", "give each a `name`"),
        ({"methods": []}, "methods", "at least 1 item"),
        ({"methods": None}, "methods", "must be a list; got null"),
        ({"training": 3}, "training", "must be a mapping"),
        ({"tasks[0]": {"task": "text_classification"}}, "tasks[0].data", "is required"),
    ],
)
def test_contradictions(changes: dict[str, Any], path: str, words: str) -> None:
    assert not problems(SMALL)
    found = problems(SMALL, changes)
    assert words in found.get(path, ""), found


def test_a_method_may_override_training() -> None:
    base = {"training": {"warmup_ratio": 0.2, "epochs": 2, "betas": [0.8, 0.9], "batch_size": 4}}
    own = {"warmup_steps": 7, "max_steps": 9, "optimizer": "sgd"}
    study = load_study(SMALL | base | {"methods": [{"lora": {"training": own}}]})
    merged = study.training_of(study.methods[0])
    assert merged == Training(warmup_steps=7, max_steps=9, optimizer="sgd", batch_size=4)
    assert set(merged.unused()) == {"epochs", "warmup_ratio", "betas", "eps"}


def test_python_and_yaml_give_the_same_faults() -> None:
    with pytest.raises(StudyError, match=r"methods\[0\].lora.rank: must be a whole number"):
        Study(**SMALL | {"methods": [{"lora": {"rank": "8"}}]})
    with pytest.raises(StudyError, match="did you mean 'lora'"):
        Study.model_validate(SMALL | {"methods": ["lorra"]})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = study_file(
        tmp_path,
        """\
name: round
backbones: [mini-bert, {name: b, model: org/some-model, quantization: nf4, revision: v1}]
tasks:
  - text_classification: {data: {csv: {train: rows.csv, columns: {text: [a, b]}, limit: {test: 5}}}}
methods: [full, {lora: {target_modules: [query, value], training: {max_steps: 5}}}]
seeds: 4
training: {optimizer: sgd, warmup_steps: 3}
budget: {minutes: 5}
""",
    )
    study = load_study(path)
    again = tmp_path / "elsewhere" / "resolved.yaml"
    again.parent.mkdir()
    again.write_text(yaml.safe_dump(study.written(), sort_keys=False))
    assert load_study(again) == study
    assert load_study(again, {"training.max_grad_norm": 2}) != study


def test_paths_begin_at_the_study_file(tmp_path: Path) -> None:
    task = "{text_classification: {data: {csv: %s}}}"
    text = f"backbones: [mini-bert]\nmethods: [full]\ntasks: [{task}]\n"
    study = load_study(study_file(tmp_path, text % "{train: rows.csv}"))
    assert study.tasks[0].data.source.train == tmp_path / "rows.csv"  # type: ignore[attr-defined]
    load_study(study_file(tmp_path, text % "{train: '*.csv'}"))
    found = problems(study_file(tmp_path, text % "{train: [rows.csv, '*.tsv']}"))
    assert list(found) == ["tasks[0].text_classification.data.csv.train[1]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "must be a mapping"),
        ("name: [\n", "is not YAML"),
        ("name: a\n\tb: c\n", "line 2"),
        ("a: &x [*x]\n", "contains itself"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        load_study(study_file(tmp_path, text))


def test_no_such_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="did you mean 'quickstart'"):
        load_study("quickstar")
    study_file(tmp_path, "name: a")
    with pytest.raises(StudyError, match=r"did you mean '.*study.yaml'"):
        load_study(tmp_path / "study.yml")


def test_changes_from_the_command_line() -> None:
    changes = parse_changes(["methods[1].rank=4", "training.epochs=0.5", "name=x"])
    study = load_study(SMALL, changes)
    assert study.methods[1].settings.rank == 4  # type: ignore[attr-defined]
    assert study.training.epochs == 0.5
    assert SMALL["methods"] == ["full", "lora"]
    assert "methods[5]" in problems(SMALL, {"methods[5].rank": 4})
    assert "training.epoch" in problems(SMALL, {"training.epoch": 4})
    with pytest.raises(StudyError, match="wants PATH=VALUE"):
        parse_changes(["training.epochs"])
    assert [m.name for m in kept(study, ["lora"]).methods] == ["lora"]
    with pytest.raises(StudyError, match="did you mean 'lora'"):
        kept(study, ["lor"])


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of 3 blocks and 64 features."""
    return str(save("bert", tmp_path_factory.mktemp("models") / "tiny"))


def test_methods_that_do_not_fit_are_found_without_weights(tiny_bert: str) -> None:
    fits: list[Any] = ["full", {"lora": {"rank": 64}}, {"top_blocks": {"k": 3}}]
    check_fit(load_study(SMALL | {"backbones": [tiny_bert], "methods": fits}))
    too_much: list[Any] = [
        "full",
        {"lora": {"rank": 65}},
        {"top_blocks": {"k": 4}},
        {"name": "x", "method": "lora", "target_modules": ["querry"]},
    ]
    with pytest.raises(StudyError) as caught:
        check_fit(load_study(SMALL | {"backbones": [tiny_bert], "methods": too_much}))
    assert [problem.path for problem in caught.value.problems] == [
        "methods[1].rank",
        "methods[2].k",
        "methods[3].target_modules",
    ]
    assert "did you mean 'query'?" in str(caught.value)


def test_a_backbone_that_cannot_be_had() -> None:
    def inspect(backbone: BackboneSpec, head: str) -> Any:
        raise BackboneError(f"{backbone.model} has no {head}")

    study = load_study(SMALL | {"backbones": ["nobody/nothing", "other"]})
    with pytest.raises(StudyError) as caught:
        check_fit(study, inspect=inspect)
    assert [p.path for p in caught.value.problems] == ["backbones[0].model", "backbones[1].model"]


def test_anchors_and_merges_of_yaml(tmp_path: Path) -> None:
    path = study_file(
        tmp_path,
        "backbones: [mini-bert]\ntasks: [synthetic]\n"
        "methods:\n  - &a {name: a, method: lora, rank: 4}\n  - {<<: *a, name: b}\n",
    )
    assert [m.settings.rank for m in load_study(path).methods] == [4, 4]  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["lora", "name", "method", "data", "x"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    ),
    st.sampled_from(
        ["name", "backbones", "tasks", "methods", "seeds", "training", "budget", "zzz"]
    ),
)
def test_any_value_anywhere_is_right_or_a_study_error(value: Any, key: str) -> None:
    found = problems(SMALL | {key: value})
    assert all(message for message in found.values())
    if key == "zzz":
        assert "zzz" in found


def test_schema_agrees_with_the_reader(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\ngood,1\n")

    def with_shift(shift: Any) -> dict[str, Any]:
        data = {"dataset": "csv", "train": str(rows), "shift": shift}
        return {"text_classification": {"data": data}}

    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good: list[dict[str, Any]] = [
        SMALL,
        SMALL | {"seeds": 5, "methods": [{"lora": {"rank": 4, "name": "x"}}, {"method": "ia3"}]},
        SMALL | {"backbones": [{"model": "a/b", "quantization": "nf4"}], "methods": "full"},
        SMALL | {"training": {"evaluate_every": 10, "max_grad_norm": None}},
        SMALL | {"evaluation": {"interpolation": [0, 0.5, 1]}},
        load_study(SMALL).written(),
        SMALL | {"tasks": [with_shift({"a": str(rows), "b": {"test": [str(rows)]}})]},
        SMALL | {"tasks": [with_shift({"c": {"csv": {"train": str(rows)}}, "d": "*"})]},
        SMALL | {"tasks": [with_shift({"e": {"dataset": "synthetic", "test": 20}})]},
        load_study(SMALL | {"tasks": [with_shift({"a": str(rows)})]}).written(),
        load_study(SMALL | {"evaluation": {"interpolation": [0, 0.5, 1]}}).written(),
    ]
    bad: list[dict[str, Any]] = [
        SMALL | {"methods": ["lorra"]},
        SMALL | {"methods": [{"lora": {"rnk": 4}}]},
        SMALL | {"methods": [{"method": "lora", "rank": "4"}]},
        SMALL | {"tasks": [{"text_classification": {}}]},
        SMALL | {"tasks": [{"text_classification": {"data": "synthetic", "metric": "acc"}}]},
        SMALL | {"training": {"epochs": -1}},
        SMALL | {"trainings": {}},
        SMALL | {"evaluation": {"interpolation": [0, 1.5]}},
        SMALL | {"tasks": [with_shift({"a": None})]},
        SMALL | {"tasks": [with_shift({"a": {"tset": str(rows)}})]},
        SMALL | {"tasks": [with_shift([str(rows)])]},
        SMALL | {"evaluation": {"interpolate": [0, 1]}},
        {key: value for key, value in SMALL.items() if key != "tasks"},
    ]
    for study in good:
        assert not problems(study)
        assert validator.is_valid(study), study
    for study in bad:
        assert problems(study)
        assert not validator.is_valid(study), study


def test_faults_of_a_further_test_set_stand_where_it_was_written(tmp_path: Path) -> None:
    text = """\
backbones: [mini-bert]
methods: [full]
tasks: [{text_classification: {data: {csv: {train: rows.csv, shift: {tweets: %s}}}}}]
"""
    at = "tasks[0].text_classification.data.csv.shift.tweets"
    for shift, path, words in (
        ("{tset: rows.csv}", f"{at}.tset", "did you mean 'test'"),
        ("row.csv", at, "did you mean 'rows.csv'"),
        ("{dataset: cvs}", f"{at}.dataset", "did you mean 'csv'"),
        ("{}", at, "names no other rows"),
        ("3", at, "must be text or a list"),
        ("null", at, "must be a mapping"),
        ("{csv: {}}", f"{at}.csv.train", "is required"),
    ):
        found = problems(study_file(tmp_path, text % shift))
        assert list(found) == [path], shift
        assert words in found[path]
    good = study_file(tmp_path, text % "rows.csv")
    assert not problems(good)
    assert list(problems(study_file(tmp_path, (text % "rows.csv").replace("tweets", "a b"))))


def test_places_between_the_models_ascend() -> None:
    found = problems(SMALL | {"evaluation": {"interpolation": [0.5, 0, 1]}})
    assert found == {
        "evaluation.interpolation": "must ascend, and name no place twice; got [0.5, 0.0, 1.0]"
    }
    assert problems(SMALL | {"evaluation": {"interpolation": [0.5, 0.5]}})
    assert not problems(SMALL | {"evaluation": {"interpolation": [0, 0.5, 1]}})


def test_dotted_paths() -> None:
    assert dotted(("methods", 2, "lora", "rank")) == "methods[2].lora.rank"
