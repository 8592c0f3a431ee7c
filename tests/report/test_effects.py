"""What a swept setting does: found from the runs' settings, drawn with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fixtures_ledger import make_folder
from tests.report.conftest import Reported
from tests.report.folders import rewrite
from tuneoff.report import write_report
from tuneoff.report.contents import read_contents
from tuneoff.report.effects import Effect, effects
from tuneoff.report.plots.style import house_style
from tuneoff.report.plots.sweeps import draw_effects

SWEPT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({"method": "lora", "rank": 16}, {"epochs": 2, "optimizer": "adamw", "eps": 1e-8}),
    "lora": ({"method": "lora", "rank": 4}, {"epochs": 2, "optimizer": "adamw", "eps": 1e-8}),
    "ia3": ({"method": "lora", "rank": 4}, {"epochs": 1, "optimizer": "adamw", "eps": 1e-8}),
    "adapter": ({"method": "lora", "rank": 4}, {"epochs": 2, "optimizer": "sgd"}),
    "bitfit": ({"method": "bitfit"}, {"epochs": 1, "optimizer": "adamw", "eps": 1e-8}),
    "last_layer": ({"method": "last_layer"}, {"epochs": 1, "optimizer": "adamw", "eps": 1e-8}),
}


def swept(path: Path, **more: Any) -> Path:
    """Six methods under new names: LoRA with one setting changed at a time, and two without
    settings, which differ in nothing but the method."""

    def change(record: dict[str, Any]) -> dict[str, Any]:
        method, training = SWEPT[record["method"]]
        rate = {"learning_rate": record["learning_rate"]}
        settings = {"method": {"name": record["method"], **method, **rate}, "training": training}
        return record | {"settings": settings | {"backbone": {}, "task": {}}, "rate_from": "probes"}

    make_folder(path, methods=list(SWEPT), failures=False, **more)
    return rewrite(path, change)


def values(effect: Effect) -> list[Any]:
    return [point.value for point in effect.points]


def test_each_setting_that_alone_differs_is_an_effect(tmp_path: Path) -> None:
    found = {effect.setting: effect for effect in effects(read_contents(swept(tmp_path)))}
    assert set(found) == {"rank", "epochs", "optimizer"}
    assert values(found["rank"]) == [4, 16]
    assert [point.result.method for point in found["rank"].points] == ["lora", "full"]
    assert values(found["epochs"]) == [1, 2]
    assert set(values(found["optimizer"])) == {"adamw", "sgd"}
    assert all("bitfit" not in str(effect.points) for effect in found.values() if not effect)
    named = {point.result.method for effect in found.values() for point in effect.points}
    assert named == {"full", "lora", "ia3", "adapter"}


def test_sizes_of_a_backbone_are_an_effect(tmp_path: Path) -> None:
    path = swept(tmp_path, backbones=2)

    def grow(record: dict[str, Any]) -> dict[str, Any]:
        size = 9_000 if record["backbone"] != "mini-bert" else 3_000
        cost = record.get("cost") or {}
        return record | ({"cost": cost | {"total_parameters": size}} if cost else {})

    found = effects(read_contents(rewrite(path, grow)))
    sizes = [effect for effect in found if effect.setting == "model size"]
    assert len(sizes) == len(SWEPT)
    assert all(values(effect) == [3_000, 9_000] for effect in sizes)


def test_what_was_swept_is_drawn(tmp_path: Path) -> None:
    path = swept(tmp_path)
    write_report(path)
    assert (path / "plots" / "effects.png").stat().st_size > 1000
    page = (path / "report.html").read_text("utf-8")
    assert "What each setting does" in page
    assert "lora" in page[page.index('id="overall"') :]


def test_time_and_memory_stand_beside_the_quality(tmp_path: Path) -> None:
    """In panels whose marks stand at the ledger's own figures, from zero."""
    path = swept(tmp_path)
    found = [one for one in effects(read_contents(path)) if one.setting == "rank"]
    with house_style():
        plot = draw_effects(found)
    assert plot is not None
    assert "48.0 s, 520 MB" in plot.alt  # lora of the fixtures, under a rank of 4
    assert "1 min 00 s, 900 MB" in plot.alt
    _, time, memory = plot.figure.axes
    assert time.get_ylabel() == "training time (s)"
    assert memory.get_ylabel() == "peak memory (MB)"
    assert [line.get_ydata()[0] for line in time.lines[:2]] == [48.0, 60.0]  # type: ignore[index]
    assert [line.get_ydata()[0] for line in memory.lines[:2]] == [520.0, 900.0]  # type: ignore[index]
    assert time.get_ylim()[0] == memory.get_ylim()[0] == 0.0


def test_costs_that_were_not_measured_are_not_drawn(tmp_path: Path) -> None:
    def unmeasured(record: dict[str, Any]) -> dict[str, Any]:
        return record | {"cost": dict.fromkeys(record.get("cost") or {})}

    path = rewrite(swept(tmp_path), unmeasured)
    with house_style():
        plot = draw_effects(effects(read_contents(path)))
    assert plot is not None
    assert "MB" not in plot.alt
    assert [axes.get_visible() for axes in plot.figure.axes[:3]] == [True, False, False]


def test_nothing_swept_nothing_drawn(reported: Reported) -> None:
    folder = reported("one_seed")
    assert effects(read_contents(folder)) == []
    assert "What each setting does" not in (folder / "report.html").read_text("utf-8")
