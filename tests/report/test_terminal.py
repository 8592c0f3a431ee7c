"""The verdict in the terminal: order, width, plain output, and terminals without Unicode."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.report import folders
from tuneoff.report.terminal import print_verdict


def shown(folder: Path, width: int = 80, encoding: str = "utf-8", colour: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    print_verdict(folder, Console(file=file, width=width, force_terminal=colour))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_verdict_then_noise_then_table(whole_report: Path) -> None:
    text = shown(whole_report)
    verdict = json.loads((whole_report / "verdict.json").read_text())["contests"][0]
    order = [verdict["headline"][:30], "Noise floor", "method", "last_layer", "Best quality"]
    order += ["3 runs without a result", "the loss was NaN at step 40", "21 of 24 runs finished"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert text.startswith(verdict["headline"][:30])


@pytest.mark.parametrize("name", folders.ALL)
def test_fits_eighty_columns_without_colour(tmp_path: Path, name: str) -> None:
    folder = folders.ALL[name](tmp_path)
    text = shown(folder)
    assert "\x1b" not in text
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "None" not in text
    assert "nan" not in text.lower().replace("was nan", "")


def test_colour_changes_no_word(whole_report: Path) -> None:
    import re

    coloured = shown(whole_report, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == shown(whole_report)


def test_a_tie_is_marked_without_colour(whole_report: Path) -> None:
    lines = shown(whole_report).splitlines()
    rows = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    verdict = json.loads((whole_report / "verdict.json").read_text())["contests"][0]
    assert len(verdict["tied_with_best"]) > 1
    for result in verdict["methods"]:
        tied = result["method"] in verdict["tied_with_best"] and result["method"] != verdict["best"]
        assert ("=" in rows[result["method"]]) == tied


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_old_terminals_get_plain_letters(whole_report: Path, encoding: str) -> None:
    text = shown(whole_report, encoding=encoding)
    assert "last_layer" in text
    assert "-9." in text
    assert "?" not in text


def test_escape_codes_of_a_reason_do_not_reach_the_terminal(tmp_path: Path) -> None:
    def change(record: folders.Record) -> folders.Record:
        record["reason"] = "\x1b[2Jgone\x07 [bold]kept[/bold]"
        return record

    folders.all_failed(tmp_path)
    text = shown(folders.rewrite(tmp_path, change))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]kept[/bold]" in text


def test_further_test_sets_have_a_line(whole_report: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole_report, tmp_path / "shifted"))
    verdict = json.loads((folder / "verdict.json").read_text())
    contest = verdict["contests"][0]
    assert "rows of another kind" not in shown(folder)
    other = next(one["method"] for one in contest["methods"] if one["method"] != contest["best"])
    change = {"difference": -0.032, "interval": [-0.05, -0.01], "p": 0.01}
    contest["shift"] = [
        {
            "name": "tweets", "n_test": 1200, "notes": [],
            "methods": [
                {"method": contest["best"], "n": 3, "mean": 0.7, "versus_test": change},
                {"method": other, "n": 3, "mean": 0.75, "versus_test": None},
            ],
        }
    ]  # fmt: skip
    (folder / "verdict.json").write_text(json.dumps(verdict))
    words = " ".join(shown(folder).split())
    assert f"On tweets (1,200 rows of another kind): {other} is best, 75.0 %; " in words
    assert f"{contest['best']} 70.0 % (−3.2 points from test)." in words
