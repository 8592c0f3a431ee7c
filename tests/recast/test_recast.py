"""A study made over: a part of it, other models and data, a scale, fair rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backbones.tiny import save
from tuneoff.errors import DataError, StudyError
from tuneoff.recast.data_files import found
from tuneoff.recast.fair import fair
from tuneoff.recast.only import kept
from tuneoff.recast.places import pairs, with_backbones, with_data
from tuneoff.recast.scale import CAPS, scaled
from tuneoff.study import Study, load_study

ROWS = "text,label\n" + "\n".join(f"text {index},{index % 2}" for index in range(12)) + "\n"


@pytest.fixture
def grid(tmp_path: Path) -> Study:
    """Two backbones and two tasks on hub data, seven cells."""
    source = {"dataset": "hub", "name": "some/reviews", "columns": {"text": "text"}}
    tasks: list[dict[str, Any]] = [
        {"name": name, "task": "text_classification", "max_length": length, "data": dict(source)}
        for name, length in (("short", 64), ("long", 512))
    ]

    def cell(backbone: str, task: str, method: Any, **other: Any) -> dict[str, Any]:
        return {"backbone": backbone, "task": task, "method": method, **other}

    low = {"learning_rate": 1e-5}
    return load_study(
        {
            "backbones": [
                {"name": "bert", "model": "google-bert/bert-base-uncased"},
                {"name": "gpt2", "model": "openai-community/gpt2"},
            ],
            "tasks": tasks,
            "cells": [
                cell("bert", "short", {"full": low}, training={"epochs": 5}),
                cell("bert", "short", {"name": "full-b4", "method": "full", **low},
                     training={"batch_size": 4}),
                cell("bert", "short", {"lora": {"rank": 4}}, training={"warmup_steps": 500}),
                cell("bert", "long", {"qlora": low}, fair_task="short", name="the-long-one"),
                cell("gpt2", "short", "full", training={"gradient_checkpointing": True}),
                cell("gpt2", "short", {"name": "small", "method": "lora", "rank": 4}),
                cell("gpt2", "short", {"name": "large", "method": "lora", "rank": 16},
                     training={"max_steps": 3}),
            ],
            "seeds": [42],
            "tuning": {"probes": 0},
        }
    )  # fmt: skip


def names(study: Study) -> list[tuple[str, str, str]]:
    return [(one.backbone.name, one.task.name, one.method.name) for one in study.placed()]


def test_only_words_of_one_kind_are_alternatives_and_of_different_kinds_hold_together(
    grid: Study,
) -> None:
    assert names(kept(grid, ["bert,qlora"])) == [("bert", "long", "qlora")]
    assert names(kept(grid, ["gpt2, lora"])) == [
        ("gpt2", "short", "small"),
        ("gpt2", "short", "large"),
    ]
    assert len(names(kept(grid, ["full,lora"]))) == 6
    assert names(kept(grid, ["the-long-one", "gpt2,large"])) == [
        ("bert", "long", "qlora"),
        ("gpt2", "short", "large"),
    ]
    part = kept(grid, ["the-long-one"])
    assert [task.name for task in part.tasks] == ["short", "long"], "its fair contest is on short"
    assert load_study(part.written()) == part
    assert [task.name for task in kept(grid, ["gpt2"]).tasks] == ["short"]


def test_only_names_what_is_unknown_or_empty(grid: Study) -> None:
    with pytest.raises(StudyError, match=r"'brt' is no .*; did you mean 'bert'"):
        kept(grid, ["brt,qlora"])
    with pytest.raises(StudyError, match="nothing that is gpt2, qlora at once"):
        kept(grid, ["gpt2,qlora"])


def test_only_of_a_cross_stays_a_cross_where_it_is_one() -> None:
    cross = load_study(
        {
            "backbones": ["mini-bert", {"name": "b", "model": "mini-bert"}],
            "tasks": ["synthetic"],
            "methods": ["full", "lora"],
        }
    )
    part = kept(cross, ["b", "lora"])
    assert names(part) == [
        ("mini-bert", "synthetic", "lora"),
        ("b", "synthetic", "full"),
        ("b", "synthetic", "lora"),
    ]
    assert part.cells
    assert not kept(cross, ["b"]).cells
    assert load_study(part.written()) == part


def test_other_backbones(grid: Study, tmp_path: Path) -> None:
    tiny = save("bert", tmp_path / "tiny")
    moved = with_backbones(grid, pairs("--backbone", [f"bert={tiny}"]))
    assert moved.backbones[0].model == str(tiny)
    assert moved.backbones[1] == grid.backbones[1]
    assert moved.conditions.backbones == {"bert": "google-bert/bert-base-uncased"}
    assert moved.conditions.differ
    assert not grid.conditions.differ
    with pytest.raises(StudyError, match="did you mean 'bert'"):
        with_backbones(grid, {"brt": str(tiny)})
    with pytest.raises(StudyError, match=r"no config\.json"):
        with_backbones(grid, {"bert": str(tmp_path)})
    with pytest.raises(StudyError, match="there is no folder"):
        with_backbones(grid, {"bert": str(tmp_path / "absent")})
    with pytest.raises(StudyError, match="NAME=FOLDER"):
        pairs("--backbone", ["bert"])


def test_other_data_reaches_every_task_that_reads_it(grid: Study, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "dev.csv").write_text(ROWS)
    for name in ("short", "reviews"):
        moved = with_data(grid, {name: str(tmp_path)})
        assert {task.data.dataset for task in moved.tasks} == {"csv"}
        assert moved.tasks[1].data.columns == {"text": "text"}
        assert moved.conditions.data == dict.fromkeys(("short", "long"), "some/reviews")
        source = moved.tasks[0].data.source.model_dump()
        assert (source["validation"], source["test"]) == (tmp_path / "dev.csv", None)


def test_a_further_test_set_is_moved_by_its_name(tmp_path: Path) -> None:
    there = {"dataset": "hub", "name": "some/films", "columns": {"text": "review"}}
    shift = {"films": there, "books": {"dataset": "hub", "name": "some/books"}}
    data = {"dataset": "hub", "name": "some/reviews", "shift": shift}
    study = load_study(
        {
            "backbones": ["mini-bert"],
            "tasks": [{"name": "mood", "task": "text_classification", "data": data}],
            "methods": ["lora"],
        }
    )
    path = tmp_path / "films.csv"
    path.write_text(ROWS.replace("text,label", "review,label"))
    moved = with_data(study, {"films": str(path)}).tasks[0].data
    assert (moved.dataset, moved.shift["books"].dataset) == ("hub", "hub")
    assert moved.shift["films"].dataset == "csv"
    assert moved.shift["films"].columns == {"text": "review"}
    assert len(moved.shift["films"].rows()) == 12
    path.write_text(ROWS.replace("text,label", "said,label"))
    with pytest.raises(DataError, match=r"shift\.films\.columns\.text=said"):
        with_data(study, {"films": str(path)})
    with pytest.raises(StudyError, match="films"):
        with_data(study, {"filmz": str(path)})


def test_columns_that_do_not_fit_are_named(grid: Study, tmp_path: Path) -> None:
    columns = {"text": ["title", "body"], "label": "stars"}
    changes = {f"tasks[{index}].data.columns": columns for index in (0, 1)}
    mapped = load_study(grid.written(), changes)
    path = tmp_path / "rows.csv"
    path.write_text("title,body,stars\na,b,1\nc,d,0\n")
    kept_map = with_data(mapped, {"short": str(path)}).tasks[0].data.columns
    assert kept_map == {"text": ("title", "body"), "label": "stars"}
    path.write_text(ROWS)
    assert with_data(mapped, {"short": str(path)}).tasks[0].data.columns == {}
    path.write_text("titel,body,stars\na,b,1\n")
    with pytest.raises(DataError) as caught:
        with_data(mapped, {"short": str(path)})
    for words in (
        "title, body, stars",
        "titel, body",
        "did you mean",
        "tasks[0].data.columns.text",
    ):
        assert words in str(caught.value)


def test_what_lies_at_a_place(tmp_path: Path) -> None:
    folder = tmp_path / "squad"
    folder.mkdir()
    rows = [{"text": "a", "label": "b"}]
    (folder / "train-v1.1.json").write_text(json.dumps(rows))
    (folder / "dev-v1.1.json").write_text(json.dumps(rows))
    (folder / "notes.txt").write_text("not data")
    part, settings = found(str(folder))
    assert part == "json"
    assert settings == {
        "train": folder / "train-v1.1.json",
        "validation": folder / "dev-v1.1.json",
    }
    alone = tmp_path / "alpaca"
    alone.mkdir()
    (alone / "alpaca.json").write_text(json.dumps(rows))
    assert found(str(alone)) == ("json", {"train": alone / "alpaca.json"})
    files = f"{folder}/train-v1.1.json,{folder}/dev-v1.1.json"
    assert found(files) == found(str(folder))
    (folder / "train.csv").write_text(ROWS)
    with pytest.raises(DataError, match="several kinds"):
        found(str(folder))
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match="--data"):
            found(str(absent))
    (alone / "train.json").write_text("[]")
    (alone / "training.json").write_text("[]")
    with pytest.raises(DataError, match="second file of train"):
        found(str(alone))


def test_a_scale_caps_and_never_raises(grid: Study) -> None:
    smoke = scaled(grid, "smoke")
    caps = CAPS["smoke"]
    assert smoke.conditions.scale == "smoke"
    assert [task.settings.model_dump()["max_length"] for task in smoke.tasks] == [64, caps.length]
    assert smoke.tasks[0].data.limit.train == caps.train
    trained = {one.method.name: smoke.training_of(one.method) for one in smoke.placed()}
    assert trained["full-b4"].batch_size == 4
    assert all(one.max_steps is not None for one in trained.values())
    assert trained["large"].max_steps == 3
    assert (trained["lora"].warmup_steps or 0) <= (trained["lora"].max_steps or 0)
    epochs = [smoke.training_of(smoke.cells[index].method).max_steps or 0 for index in (0, 1)]
    assert epochs[0] > epochs[1], "five epochs stay more than three"
    assert scaled(grid, "full") == grid
    with pytest.raises(StudyError, match="did you mean 'smoke'"):
        scaled(grid, "smok")


def test_a_scale_gives_nothing_that_has_no_effect() -> None:
    """Lengths that belong to another form of a task are left alone, others are capped."""
    task = {"task": "question_answering", "data": {"dataset": "hub", "name": "some/questions"}}
    study = {"backbones": ["mini-bert"], "tasks": [task], "methods": ["full"]}
    span = scaled(load_study(study), "smoke").tasks[0].settings.model_dump(exclude_unset=True)
    assert set(span) == {"max_length", "doc_stride"}
    task["answer_form"] = "text_to_text"
    text = scaled(load_study(study), "smoke").tasks[0].settings.model_dump(exclude_unset=True)
    assert set(text) == {"answer_form", "max_length", "generation"}
    assert text["generation"]["max_new_tokens"] == CAPS["smoke"].new_tokens


def test_a_fair_contest_has_equal_rules(grid: Study) -> None:
    made = fair(grid)
    assert names(made) == [
        ("bert", "short", "full"),
        ("bert", "short", "lora"),
        ("bert", "short", "qlora"),
        ("gpt2", "short", "full"),
        ("gpt2", "short", "small"),
        ("gpt2", "short", "large"),
    ]
    placed = list(made.placed())
    assert all(one.method.settings.learning_rate is None for one in placed)
    trained = [made.training_of(one.method) for one in placed]
    assert [one.gradient_checkpointing for one in trained] == [False] * 3 + [True] + [False] * 2
    equal = {one.model_copy(update={"gradient_checkpointing": False}) for one in trained}
    assert equal == {grid.training}
    assert (made.tuning.probes, len(made.seeds)) == (3, 3)
    assert made.conditions.fair
    assert load_study(made.written()) == made


def test_a_smoke_run_needs_no_model_for_its_metrics() -> None:
    metrics = ["rouge1", {"bertscore_f1": {"encoder": "some/encoder", "layer": 17}}]
    task = {"task": "summarization", "metrics": metrics, "data": {"dataset": "hub", "name": "a/b"}}
    study = load_study({"backbones": ["mini-bert"], "tasks": [task], "methods": ["full"]})
    encoders = {
        scale: scaled(study, scale).tasks[0].all_metrics["bertscore_f1"].model_dump()["encoder"]
        for scale in ("full", "small", "smoke")
    }
    assert encoders == {"full": "some/encoder", "small": "some/encoder", "smoke": "mini-bert"}
