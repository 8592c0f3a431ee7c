"""What plots draw: means of seeds, fronts, edges; and looks that can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from tuneoff.report.contents import Contest, Run
from tuneoff.report.plots.bars import draw_training_time
from tuneoff.report.plots.confusion import confusion, largest_confusions
from tuneoff.report.plots.curves import mean_line
from tuneoff.report.plots.rates import draw_rates, rate_curves
from tuneoff.report.plots.style import house_style, looks, short
from tuneoff.report.plots.trade import draw_trade


def contest(**parts: object) -> Contest:
    return Contest.model_validate(
        {"backbone": "b", "task": "t", "metric": "accuracy", "best": "full", **parts}
    )


def run(seed: int, **parts: object) -> Run:
    form = {"run_id": f"r{seed}", "status": "done", "method": "lora", "seed": seed, **parts}
    return Run.model_validate(form)


def probe(rate: float, score: float | None) -> Run:
    metrics = {"validation": {"accuracy": score}} if score is not None else None
    return run(0, learning_rate=rate, metrics=metrics, status="done" if metrics else "diverged")


def test_mean_line_is_numpys_mean_where_all_lines_are() -> None:
    lines = np.random.default_rng(0).normal(size=(3, 5))
    points = [[(float(step), float(v)) for step, v in enumerate(line)] for line in lines]
    points[1] = points[1][:4]
    mean = mean_line(points)
    assert [step for step, _ in mean] == [0, 1, 2, 3]
    np.testing.assert_allclose([value for _, value in mean], lines.mean(axis=0)[:4])


def test_confusion_is_the_mean_over_finished_seeds() -> None:
    tables = np.random.default_rng(0).integers(0, 50, (3, 2, 2))
    runs = [
        run(seed, classes=["no", "yes"], metrics={"test": {"confusion_matrix": table.tolist()}})
        for seed, table in enumerate(tables)
    ]
    runs.append(run(9, status="diverged"))
    found = confusion(contest(runs=runs), "lora")
    assert found is not None
    np.testing.assert_allclose(found[1], tables.mean(axis=0))
    assert found[2] == 3
    assert confusion(contest(runs=runs), "full") is None


def test_largest_confusion_is_of_the_class_not_of_all_rows() -> None:
    table = [[90, 10], [4, 1]]
    runs = [run(0, classes=["common", "rare"], metrics={"test": {"confusion_matrix": table}})]
    first, second = largest_confusions(contest(runs=runs), "lora")
    assert first == "rare taken for common: 80% of rare"
    assert second == "common taken for rare: 10% of common"


@pytest.mark.parametrize(
    ("scores", "chosen", "edge"),
    [
        ((0.8, 0.9, 0.85), 1e-3, False),
        ((0.8, 0.85, 0.9), 1e-2, True),
        ((0.9, 0.8, 0.85), 1e-4, True),
        ((0.9, 0.8, None), 1e-4, True),
    ],
)
def test_edge_of_the_probed_rates_is_noticed(
    scores: tuple[float | None, ...], chosen: float, edge: bool
) -> None:
    probes = [probe(rate, score) for rate, score in zip((1e-4, 1e-3, 1e-2), scores, strict=True)]
    (curve,) = rate_curves(contest(probes=probes))
    assert curve.chosen == chosen
    assert curve.at_edge == edge
    assert sum(not found for found in curve.scores.values()) == scores.count(None)


def test_a_rate_that_was_stopped_early_is_told_apart() -> None:
    rungs = [{"step": 3, "validation": {"accuracy": 0.95, "loss": 0.1}}]
    early = run(1, learning_rate=1e-2, status="stopped", rungs=rungs)
    judged = contest(probes=[probe(1e-4, 0.9), probe(1e-3, None), early])
    (curve,) = rate_curves(judged)
    assert curve.chosen == 1e-4  # among those that came to their end
    assert curve.at_edge
    assert curve.stopped == {1e-2: (3, 0.95)}
    with house_style():
        plot = draw_rates(judged, looks(["lora"]))
    assert plot is not None
    assert "stopped early" in plot.note
    tips = sorted(tip.split(": ")[1] for tip in plot.tips.values())
    assert tips == ["90.0 %", "failed", "stopped at step 3, 95.0 % there"]
    with house_style():
        plain = draw_rates(contest(probes=[probe(1e-4, 0.9)]), looks(["lora"]))
    assert plain is not None
    assert "stopped early" not in plain.note


def test_the_rate_of_the_runs_is_what_was_chosen() -> None:
    probes = [probe(1e-4, 0.9), probe(1e-3, 0.8), probe(1e-2, 0.7)]
    judged = contest(probes=probes, methods=[{"method": "lora", "learning_rate": 1e-3}])
    (curve,) = rate_curves(judged)
    assert curve.chosen == 1e-3


def methods(*points: tuple[str, float | None, float | None]) -> Contest:
    return contest(
        methods=[
            {"method": name, "mean": mean, "cost": {"train_seconds": cost}, "on_front": {}}
            for name, mean, cost in points
        ]
    )


def test_a_method_without_both_figures_is_not_in_a_trade() -> None:
    some = methods(("full", 0.9, 10.0), ("lora", None, 5.0), ("ia3", 0.8, None))
    none = methods(("lora", None, 5.0), ("ia3", 0.8, None))
    with house_style():
        plot = draw_trade(some, looks(["full", "lora", "ia3"]), "train_seconds")
        assert plot is not None
        assert [tip.split(":")[0] for tip in plot.tips.values()] == ["full"]
        assert draw_trade(none, looks(["lora", "ia3"]), "train_seconds") is None


def test_bars_are_as_long_as_the_costs_and_least_first() -> None:
    with house_style():
        plot = draw_training_time(
            methods(("full", 0.9, 60.0), ("lora", 0.9, 30.0)), looks(["full", "lora"])
        )
    assert plot is not None
    assert [patch.get_width() for patch in plot.figure.axes[0].patches] == [30.0, 60.0]  # type: ignore[attr-defined]


def test_names_do_not_cover_each_other() -> None:
    close = [(f"method number {index}", 0.9 + index / 500, 10.0 + index / 5) for index in range(7)]
    with house_style():
        plot = draw_trade(methods(*close), looks([name for name, _, _ in close]), "train_seconds")
        assert plot is not None
        plot.figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in plot.figure.axes[0].texts]
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert sum(bool(a.overlaps(b)) for a, b in pairs) == 0


def test_no_two_looks_are_alike() -> None:
    names = [str(index) for index in range(70)]
    assert len(set(looks(names).values())) == 70


def test_short_names_keep_both_ends() -> None:
    assert short("lora") == "lora"
    assert short("a" * 30 + "_rank_8", 15) == "aaaaaaa…_rank_8"
    assert short("bell\x07", 15) == "bell�"


def test_a_persons_matplotlib_settings_are_left_alone() -> None:
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    matplotlib.rcParams["font.size"] = 31
    try:
        with house_style():
            assert matplotlib.rcParams["font.size"] != 31
        assert matplotlib.rcParams["font.size"] == 31
    finally:
        matplotlib.rcParams["font.size"] = before
