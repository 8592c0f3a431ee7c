"""A classifier's last block without keys and values of the tokens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.cases import material, spec
from tuneoff.backbones.families import family, gpt2
from tuneoff.backbones.sites import Site
from tuneoff.training.loop import Cohort
from tuneoff.training.outcome import Limits

METHODS = {
    "full": {},
    "top_blocks": {"k": 1},
    "bitfit": {},
    "lora": {},
    "dora": {"method": "lora", "use_dora": True},
    "ia3": {},
    "adapter": {},
}


def run_of(name: str, dropout: float) -> object:
    settings = dict(METHODS[name])
    return spec(settings.pop("method", name), training={"dropout": dropout}, **settings)


def losses(run: object, stuff: object) -> np.ndarray:
    cohort = Cohort([run], stuff, Limits())
    cohort.begin()
    return np.array([cohort.step()[run.run_id] for _ in range(4)])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "gpt_neo"])
def test_it_changes_nothing(architecture, method, dropout, tmp_path, monkeypatch):
    stuff = material(tmp_path, architecture)
    run = run_of(method, dropout)
    rows = count_rows(monkeypatch, stuff)
    short = losses(run, stuff)
    fewer, rows[:] = sum(rows), []
    for module in (family, gpt2):
        monkeypatch.setattr(module, "pools", lambda *_: False)
    long = losses(run, stuff)
    assert np.allclose(short, long, atol=1e-9 if dropout else 1e-10, rtol=0)
    assert fewer < sum(rows)  # the work was left out, not done twice
    assert len(set(long)) == len(long)


def count_rows(monkeypatch: pytest.MonkeyPatch, stuff: object) -> list[int]:
    """Rows that pass through sites of keys and values."""
    rows: list[int] = []
    call = Site.__call__

    def counted(self, x, bounds):
        if self.role in ("key", "value", "qkv"):
            rows.append(len(x))
        return call(self, x, bounds)

    monkeypatch.setattr(Site, "__call__", counted)
    return rows


def test_a_local_window_is_kept(tmp_path, monkeypatch):
    """GPT-Neo's last block sees a window of the last tokens."""
    stuff = material(tmp_path, "gpt_neo")
    stuff.backbone.config.attention_layers[-1] = "local"
    stuff.backbone.config.window_size = 5
    run = run_of("lora", 0.0)
    narrow = losses(run, stuff)
    monkeypatch.setattr(family, "pools", lambda *_: False)
    assert np.allclose(narrow, losses(run, stuff), atol=1e-11, rtol=0)
    stuff.backbone.config.window_size = 50
    assert not np.allclose(narrow, losses(run, stuff), atol=1e-6, rtol=0)
