"""Our figures beside the published ones, and the words that keep them apart."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.fixtures_ledger import make_folder
from tests.report.simple_verdicts import write_verdict
from tuneoff.ledger import Ledger
from tuneoff.report import write_report
from tuneoff.report.contents import read_contents
from tuneoff.report.published import Beside, beside, published_table
from tuneoff.report.terminal import print_verdict

CELLS: list[dict[str, Any]] = [
    {
        "method": {"name": "full", "method": "full"},
        "published": {
            "test": {"accuracy": 86.5},
            "unit": "percent",
            "minutes": 2.0,
            "memory_gb": 6.5,
            "per_class": [{"precision": 0.25}],
            "note": "as | they say",
        },
    },
    {
        "method": {"name": "lora", "method": "lora"},
        "published": {
            "validation": {"accuracy": 0.7},
            "test": {"loss": 0.3107},
            "trainable_share": 0.02,
        },
    },
    {"method": {"name": "ia3", "method": "ia3"}, "published": {"test": {"accuracy": 0.9}}},
]


def folder(path: Path, **conditions: Any) -> Path:
    """A simulated study of two methods; of the third there is no run."""
    make_folder(path, methods=["full", "lora"], failures=False)
    first = Ledger(path).records()[0]
    place = {"backbone": first["backbone"], "task": first["task"]}
    study = {
        "name": "simulated",
        "backbones": [{"name": first["backbone"], "model": "models/tiny-bert"}],
        "publication": {"title": "A study", "authors": "A. Author", "hardware": "Tesla T4"},
        "charts": ["quality", "train_seconds"],
        "cells": [place | cell for cell in CELLS],
        "conditions": conditions,
    }
    (path / "study.yaml").write_text(yaml.safe_dump(study))
    write_verdict(path)
    return path


def found_in(path: Path) -> Beside:
    found = beside(read_contents(path))
    assert found is not None
    return found


def test_ours_stand_beside_theirs_in_one_unit(tmp_path: Path) -> None:
    path = folder(tmp_path)
    full, lora, ia3 = found_in(path).cells
    runs = [run for run in Ledger(path).records() if run["method"] == "full"]
    mean = sum(run["metrics"]["test"]["accuracy"] for run in runs) / len(runs)
    accuracy = full.figure("accuracy", "test")
    assert accuracy is not None
    assert accuracy.published == pytest.approx(0.865)
    assert accuracy.ours == pytest.approx(mean)
    seconds, memory = (full.figure(name, "") for name in ("train_seconds", "peak_memory_bytes"))
    assert seconds is not None
    assert memory is not None
    assert (seconds.published, memory.published) == (120.0, 6.5e9)
    assert seconds.text(seconds.published) == "2 min 00 s"
    (named,) = [one for one in full.told if one.of_class]
    tables = [run["metrics"]["test"]["per_class"] for run in runs]
    first = next(iter(tables[0]))
    assert named.of_class == first
    assert named.ours == pytest.approx(sum(t[first]["precision"] for t in tables) / len(tables))
    dev = lora.figure("accuracy", "validation")
    assert dev is not None
    assert dev.title == "accuracy (validation)"
    assert dev.ours != lora.figure("accuracy", "test")
    share = lora.figure("trainable_share", "")
    assert share is not None
    assert share.published == 0.02
    nothing = ia3.figure("accuracy", "test")
    assert nothing is not None
    assert (nothing.published, nothing.ours) == (0.9, None)


def test_no_warning_where_all_is_as_published(tmp_path: Path) -> None:
    assert found_in(folder(tmp_path)).warning == ""


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"scale": "smoke"}, "smoke scale: at most"),
        ({"backbones": {"mini-bert": "google-bert/bert-base-uncased"}}, "for google-bert/bert"),
        ({"data": {"synthetic": "stanfordnlp/imdb"}}, "other data than stanfordnlp/imdb"),
        ({"fair": True}, "a fair contest"),
        ({"settings": ["training.max_steps=2"]}, "training.max_steps=2"),
    ],
)
def test_whatever_differs_is_no_reproduction_wherever_the_figures_stand(
    conditions: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = folder(tmp_path, **conditions)
    found = found_in(path)
    assert found.warning.startswith("Not a reproduction: ")
    assert words in found.warning
    for row in csv.DictReader(io.StringIO(published_table(found))):
        assert row["reproduction"] == found.warning


def test_the_words_stand_in_every_form_of_the_report(tmp_path: Path) -> None:
    path = folder(tmp_path, scale="smoke")
    write_report(path)
    page, text = ((path / name).read_text("utf-8") for name in ("report.html", "report.md"))
    table = (path / "published.csv").read_text("utf-8")
    buffer = io.StringIO()
    print_verdict(path, Console(file=buffer, width=100))
    for shown in (page, text, table, buffer.getvalue()):
        assert "Not a reproduction: smoke scale" in shown
    for shown in (page, text, buffer.getvalue()):
        assert "Beside the published figures" in shown
        assert "86.5 %" in shown
    section = page[page.index('id="published"') :]
    assert section.count("<svg") >= 4
    assert "as | they say" in page
    assert r"as \| they say" in text
    for name in ("cells", "cells-quality", "cells-quality-loss", "cells-train-seconds"):
        assert (path / "plots" / f"{name}.png").stat().st_size > 1000
        assert (path / "plots" / f"{name}.svg").exists()
        assert f"plots/{name}.png" in text


def test_a_study_without_published_figures_has_no_such_section(whole_report: Path) -> None:
    assert beside(read_contents(whole_report)) is None
    assert "published figures" not in (whole_report / "report.html").read_text("utf-8")
    assert not (whole_report / "published.csv").exists()


def test_what_comes_from_a_study_is_escaped(tmp_path: Path) -> None:
    path = folder(tmp_path)
    text = (path / "study.yaml").read_text().replace("A. Author", "<script>alert(1)</script>")
    (path / "study.yaml").write_text(text)
    write_report(path)
    page = (path / "report.html").read_text("utf-8")
    assert not re.search(r"<script>alert", page)
    assert "&lt;script&gt;alert" in page
