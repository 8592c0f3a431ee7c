"""Further test sets at the end of a run: the scores that the same rows would have as test, and
nothing learned from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.training.cases import features, material, spec
from tuneoff.training.loop import train_cohort


def test_scores_are_those_of_the_rows_as_test(tmp_path: Path) -> None:
    stuff = material(tmp_path)
    more = {"shift:same": features(19, 2), "shift:other": features(23, 5)}
    runs = [spec("lora"), spec("full", rate=3e-3)]
    with_more = train_cohort(runs, replace(stuff, features={**stuff.features, **more}))
    other = {**stuff.features, "test": more["shift:other"]}
    swapped = train_cohort(runs, replace(stuff, features=other))
    plain = train_cohort(runs, stuff)
    for found, there, alone in zip(with_more, swapped, plain, strict=True):
        assert set(found.metrics) == {"validation", "test", *more}
        assert found.metrics["shift:same"] == found.metrics["test"] == alone.metrics["test"]
        assert found.metrics["shift:other"] == there.metrics["test"] != alone.metrics["test"]
        assert all(torch.equal(found.tensors[name], alone.tensors[name]) for name in alone.tensors)
        assert found.predictions is not None
        assert there.predictions is not None
        rows = found.predictions["split"] == "shift:other"
        theirs = there.predictions["split"] == "test"
        for name in ("row", "label", "prediction", "loss", "probabilities"):
            assert np.array_equal(found.predictions[name][rows], there.predictions[name][theirs])


def test_they_are_measured_between_the_models_too(tmp_path: Path) -> None:
    stuff = material(tmp_path)
    more = {**stuff.features, "shift:same": features(19, 2)}
    run = spec("lora", interpolation=(0.0, 1.0))
    (found,) = train_cohort([run], replace(stuff, features=more))
    for entry in found.interpolation:
        assert entry["metrics"]["shift:same"] == entry["metrics"]["test"]
    assert found.interpolation[0] != found.interpolation[1]
