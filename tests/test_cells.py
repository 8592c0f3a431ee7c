"""A study that lists its cells one by one: what may be written, what runs, what is at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.backbones.tiny import save
from tests.test_study import problems
from tuneoff.errors import StudyError
from tuneoff.fit import check_fit
from tuneoff.runs import expand
from tuneoff.study import load_study
from tuneoff.study_schema import json_schema


def cell(method: Any, **other: Any) -> dict[str, Any]:
    return {"backbone": "mini-bert", "task": "synthetic", "method": method, **other}


def study(*cells: Any) -> dict[str, Any]:
    return {"backbones": ["mini-bert"], "tasks": ["synthetic"], "cells": list(cells), "seeds": 1}


GOOD = study(
    cell("full", training={"epochs": 1}, published={"test": {"accuracy": 0.5}, "minutes": 3}),
    cell({"lora": {"rank": 4}}, name="small"),
    cell({"name": "lora-8bit", "method": "lora"}, backbone_settings={"quantization": "int8"}),
    cell("qlora", backbone_settings={"compute_dtype": "bfloat16", "double_quantization": False}),
)


def test_each_cell_runs_with_its_own_settings() -> None:
    runs = {run.method.name: run for run in expand(load_study(GOOD))}
    assert list(runs) == ["full", "lora", "lora-8bit", "qlora"]
    assert [runs[name].training.epochs for name in runs] == [1, 3, 3, 3]
    assert runs["lora"].method.settings.model_dump()["rank"] == 4
    held = {name: run.backbone.quantization for name, run in runs.items()}
    assert held == {"full": "none", "lora": "none", "lora-8bit": "int8", "qlora": "nf4"}
    assert (runs["qlora"].backbone.compute_dtype, runs["qlora"].backbone.double_quantization) == (
        "bfloat16",
        False,
    )


def test_a_cell_is_the_same_run_as_in_a_cross_of_all() -> None:
    crossed = GOOD | {"methods": ["full", "lora"], "cells": None}
    crossed.pop("cells")
    cells = expand(load_study(study(cell("full"), cell("lora"))))
    assert [run.run_id for run in expand(load_study(crossed))] == [run.run_id for run in cells]
    figured = expand(load_study(study(cell("full", published={"minutes": 1}), cell("lora"))))
    assert figured == cells
    longer = expand(load_study(study(cell("full", training={"epochs": 9}), cell("lora"))))
    assert longer[0].run_id != cells[0].run_id


def test_a_study_of_cells_is_written_and_read_again() -> None:
    loaded = load_study(GOOD)
    written = loaded.written()
    assert "methods" not in written
    assert load_study(written) == loaded
    assert written["cells"][0]["published"] == {"test": {"accuracy": 0.5}, "minutes": 3.0}


BAD = """\
name: cells
backbones: [mini-bert, {model: mini-bert, name: b}]
tasks: [synthetic]
cells:
  - {backbone: mini-bert, task: synthetic, method: full, published: {test: {acuracy: 1}, minuts: 3}}
  - {backbone: mini-brt, task: synthetc, method: {lora: {rnk: 3}}, training: {epocs: 3}}
  - {backbone: mini-bert, task: synthetic, method: full}
  - {backbone: mini-bert, task: synthetic, method: {qlora: {training: {}}}, training: {epochs: 3}}
  - 7
  - {backbone: mini-bert, method: lorra}
methods: [full]
"""


def test_every_fault_of_a_cell_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(BAD)
    found = problems(path)
    expected = {
        "backbones[1]": "no cell names 'b'; leave it out (line 2)",
        "cells[0].published.test": "did you mean 'accuracy'? (line 5)",
        "cells[0].published.minuts": "did you mean 'minutes'? (line 5)",
        "cells[1].backbone": "did you mean 'mini-bert'? (line 6)",
        "cells[1].task": "did you mean 'synthetic'? (line 6)",
        "cells[1].method.lora.rnk": "did you mean 'rank'? (line 6)",
        "cells[1].training.epocs": "did you mean 'epochs'? (line 6)",
        "cells[2]": "is 'full' on mini-bert and synthetic as cells[0] is",
        "cells[3].training": "is given here and at cells[3].method.qlora.training",
        "cells[4]": "must be a mapping",
        "cells[5].task": "is required and not given (line 10)",
        "cells[5].method": "did you mean 'lora'?",
        "methods": "has no effect: cells are given",
    }
    assert found.keys() == expected.keys()
    for place, words in expected.items():
        assert words in found[place], place


def test_memory_settings_without_effect_are_faults() -> None:
    idle = cell("lora", backbone_settings={"compute_dtype": "bfloat16"})
    against = cell("qlora", backbone_settings={"quantization": "int8"})
    found = problems(study(idle, against))
    assert "has no effect" in found["cells[0].backbone_settings.compute_dtype"]
    assert "nf4" in found["cells[1].method"]
    assert "cells[0].training.epochs" in problems(
        study(cell("full", training={"max_steps": 3, "epochs": 2}))
    )


def test_cells_or_methods() -> None:
    assert "methods" in problems({"backbones": ["mini-bert"], "tasks": ["synthetic"]})
    assert "methods" in problems(GOOD | {"methods": ["full"]})
    assert "cells" in problems(study())


def test_the_schema_knows_cells() -> None:
    check = jsonschema.Draft202012Validator(json_schema())
    assert not list(check.iter_errors(GOOD))
    assert list(check.iter_errors(GOOD | {"methods": ["full"]}))
    assert list(check.iter_errors(study(cell({"lora": {"rnk": 4}}))))
    assert list(check.iter_errors(study(cell("full", published={"minutes": "long"}))))


def test_a_method_that_does_not_fit_is_named_by_its_cell(tmp_path: Path) -> None:
    tiny = str(save("bert", tmp_path / "tiny"))
    written = study(cell({"lora": {"rank": 64}}), cell({"lora": {"name": "x", "rank": 65}}))
    written["backbones"] = [{"name": "mini-bert", "model": tiny}]
    with pytest.raises(StudyError) as caught:
        check_fit(load_study(written))
    assert [problem.path for problem in caught.value.problems] == ["cells[1].method.rank"]
