"""The published studies that the package brings: whole, runnable cell by cell, and fair to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.backbones import tiny
from tuneoff import recipes
from tuneoff.errors import DataError, StudyError
from tuneoff.fit import check_fit
from tuneoff.recast.fair import fair
from tuneoff.recast.only import kept
from tuneoff.recast.places import with_backbones
from tuneoff.recast.scale import scaled
from tuneoff.registry import get
from tuneoff.study import Study, load_study

DOCS = Path(__file__).parents[2] / "docs"
CELLS = {
    "imdb-four-methods": 8,
    "shared-task-4": 6,
    "transformer-grid": 27,
    "explora": 20,
    "gpt2-lora-survey": 24,
}
STUDIES = [name for name in recipes.names() if load_study(name).publication]
KINDS = {"bert": "bert", "roberta": "roberta", "gpt-neo": "gpt_neo", "t5": "t5", "gpt2": "gpt2"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny folder of each architecture; of GPT-2 one that has four blocks to tune."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Any] = {kind: tiny.save(kind, folder / kind) for kind in KINDS.values()}
    config = tiny.configs()["gpt2"]
    config.n_layer = 4
    transformers.GPT2LMHeadModel(config).save_pretrained(made["gpt2"])
    return {word: str(made[kind]) for word, kind in KINDS.items()}


def on_tiny_models(study: Study, models: dict[str, str]) -> Study:
    places = {}
    for backbone in study.backbones:
        short = backbone.model.rpartition("/")[2].lower()
        places[backbone.name] = next(models[word] for word in KINDS if short.startswith(word))
    return with_backbones(study, places)


def test_there_are_studies() -> None:
    assert set(STUDIES) == set(CELLS)


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_is_there_and_has_its_page(name: str) -> None:
    study = load_study(name)
    assert len(study.cells) == CELLS[name]
    assert study.tuning.probes == 0
    assert len(study.seeds) == 1
    page = (DOCS / "studies" / f"{name}.md").read_text("utf-8")
    for words in (f"tuneoff run {name}", "--fair", "--scale smoke", "What the text leaves open"):
        assert words in page, f"{name}: {words}"
    assert f"(studies/{name}.md)" in (DOCS / "index.md").read_text("utf-8")


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_fits_its_backbone(name: str, models: dict[str, str]) -> None:
    study = on_tiny_models(scaled(load_study(name), "smoke"), models)
    check_fit(study)
    first = study.cells[0].method
    wrong = get("methods", "lora")(target_modules=("no_such_module",))
    broken = first.model_copy(update={"method": "lora", "settings": wrong})
    cells = (study.cells[0].model_copy(update={"method": broken}), *study.cells[1:])
    with pytest.raises(StudyError, match=r"cells\[0\]\.method\.target_modules"):
        check_fit(study.model_copy(update={"cells": cells}))


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_can_be_picked_scaled_and_made_fair(name: str, models: dict[str, str]) -> None:
    study = load_study(name)
    for cell in study.cells:
        words = ",".join((cell.backbone, cell.task, cell.method.name))
        part = kept(study, [words])
        assert cell in part.cells
        assert load_study(part.written()) == part
    for scale in ("smoke", "small"):
        assert len(scaled(study, scale).cells) == len(study.cells)
    made = fair(study)
    check_fit(on_tiny_models(scaled(made, "smoke"), models))
    rules: dict[tuple[str, str], set[Any]] = {}
    for one in made.placed():
        assert one.method.settings.learning_rate is None
        trained = made.training_of(one.method)
        equal = trained.model_copy(
            update={"micro_batch_size": None, "gradient_checkpointing": False}
        )
        rules.setdefault((one.backbone.name, one.task.name), set()).add(equal)
    assert all(len(found) == 1 for found in rules.values())


@pytest.mark.parametrize("name", STUDIES)
def test_published_shares_are_shares(name: str) -> None:
    """A figure in percent that is taken for a share would be shown as 8,650 %."""
    for cell in load_study(name).cells:
        if cell.published is None:
            continue
        most = 100 if cell.published.unit == "percent" else 1
        for figures in (cell.published.test, cell.published.validation):
            for metric, value in figures.items():
                if get("metrics", metric).bounds == (0.0, 1.0):
                    assert most / 100 < value <= most, (cell, metric)


def test_data_that_must_be_brought_says_so() -> None:
    source = get("datasets", "elsewhere")(what="CFIMDB", where="a course's starter code")
    for ask in (source.load, source.fingerprint):
        with pytest.raises(DataError, match=r"CFIMDB.*starter code.*--data"):
            ask()
