"""Between the original and the trained model: against state dicts that are interpolated by hand and
run by plain transformers, adapters folded in by PEFT."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from torch import Tensor

from tests.training.cases import CLASSES, material, spec
from tuneoff.methods._peft_form import adapter_state
from tuneoff.training.loop import train_cohort
from tuneoff.training.outcome import Material, Outcome

PLACES = (0.0, 0.25, 1.0)
RATES = {"full": 3e-3, "lora": 1e-2, "dora": 1e-2, "ia3": 3e-2, "bitfit": 3e-2, "adapter": 3e-2}


def trained(folder: Path, method: str, architecture: str = "bert") -> tuple[Material, Outcome]:
    """A short run in float64, measured at `PLACES`."""
    stuff = material(folder, architecture)
    run = spec(method, rate=RATES[method], interpolation=PLACES)
    (outcome,) = train_cohort([run], stuff)
    assert outcome.status == "done"
    return stuff, outcome


def original(folder: Path, stuff: Material, outcome: Outcome) -> Any:
    """Transformers' own model, in float64, with the head that was trained."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder / stuff.backbone.config.model_type, num_labels=len(CLASSES)
    ).double()
    state = model.state_dict()
    heads = {site.name for site in stuff.backbone.head_sites}
    for name, value in outcome.tensors.items():
        site, _, parameter = name.partition("::")
        if site in heads:
            state[f"{site}.{parameter}"] = value
    model.load_state_dict(state)
    return model.eval()


def scores(model: Any, stuff: Material) -> dict[str, float]:
    """Accuracy and mean loss on the test split, one example at a time."""
    features, right, losses = stuff.features["test"], [], []
    for row in range(len(features)):
        start, end = features.offsets[row : row + 2]
        ids = torch.from_numpy(features.tokens[start:end].astype(np.int64))[None]
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        target = int(features.targets[row])
        right.append(int(logits.argmax()) == target)
        losses.append(float(-torch.log_softmax(logits, -1)[0, target]))
    return {"accuracy": float(np.mean(right)), "loss": float(np.mean(losses))}


def ends(method: str, model: Any, stuff: Material, outcome: Outcome) -> dict[str, Tensor]:
    """The state dict of the trained model: tensors put in place by hand, or folded in by PEFT."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if method in ("full", "bitfit"):
        for name, value in outcome.tensors.items():
            site, _, parameter = name.partition("::")
            if parameter == "offset":
                state[f"{site}.bias"] = state[f"{site}.bias"] + value
            else:
                state[f"{site}.{parameter}"] = value
        return state
    settings = spec(method).method.settings
    hooks = settings.build(stuff.backbone, torch.Generator())
    hooks |= {site.name: torch.nn.Module() for site in stuff.backbone.head_sites}
    for name, value in outcome.tensors.items():
        site, _, parameter = name.partition("::")
        hooks[site].register_parameter(parameter, torch.nn.Parameter(value))
    heads = {site.name: hooks.pop(site.name) for site in stuff.backbone.head_sites}
    whole = peft.get_peft_model(
        copy.deepcopy(model), settings.peft_config(stuff.backbone), autocast_adapter_dtype=False
    )
    peft.set_peft_model_state_dict(whole, adapter_state(settings, hooks, heads))
    return dict(whole.merge_and_unload().state_dict())


def measured(outcome: Outcome) -> dict[float, dict[str, float]]:
    return {entry["alpha"]: entry["metrics"]["test"] for entry in outcome.interpolation}


@pytest.mark.parametrize(
    ("method", "architecture"),
    [
        ("full", "bert"),
        ("lora", "bert"),
        ("dora", "bert"),
        ("ia3", "bert"),
        ("bitfit", "bert"),
        ("full", "gpt2"),
        ("lora", "gpt2"),
    ],
)
def test_equals_interpolated_state_dicts(method: str, architecture: str, tmp_path: Path) -> None:
    stuff, outcome = trained(tmp_path, method, architecture)
    model = original(tmp_path, stuff, outcome)
    start = copy.deepcopy(model.state_dict())
    end = ends(method, model, stuff, outcome)

    def by_hand(alpha: float) -> dict[str, float]:
        model.load_state_dict({n: start[n] + alpha * (end[n] - start[n]) for n in start})
        return scores(model, stuff)

    found = measured(outcome)
    assert tuple(found) == PLACES
    for alpha in PLACES:
        assert found[alpha] == pytest.approx(by_hand(alpha), abs=1e-9), alpha
    for near in (0.0, 0.2, 0.3, 1.0):  # negative controls: another place is another model
        assert abs(by_hand(near)["loss"] - found[0.25]["loss"]) > 1e-6


def test_an_adapter_adds_a_part_of_what_it_added(tmp_path: Path) -> None:
    """It folds into no weights: hooks on transformers' own modules, by the paper's formula."""
    stuff, outcome = trained(tmp_path, "adapter")
    model = original(tmp_path, stuff, outcome)
    modules, alpha = dict(model.named_modules()), 0.25

    def behind(parts: dict[str, Tensor]) -> Any:
        def add(module: Any, given: Any, out: Tensor) -> Tensor:
            inner = torch.relu(out @ parts["down"].T + parts["down_bias"])
            return out + alpha * (inner @ parts["up"].T + parts["up_bias"])

        return add

    adapters: dict[str, dict[str, Tensor]] = {}
    for name, value in outcome.tensors.items():
        site, _, parameter = name.partition("::")
        if parameter in ("down", "down_bias", "up", "up_bias"):
            adapters.setdefault(site, {})[parameter] = value
    assert len(adapters) == 6
    for site, parts in adapters.items():
        modules[site].register_forward_hook(behind(parts))
    assert measured(outcome)[alpha] == pytest.approx(scores(model, stuff), abs=1e-9)
    alpha = 0.3
    assert abs(measured(outcome)[0.25]["loss"] - scores(model, stuff)["loss"]) > 1e-6


def test_a_model_that_peft_rewrote_is_interpolated_in_pefts_parameters(tmp_path: Path) -> None:
    """PEFT's IA3 starts from ones, so that the way between is known."""
    stuff = material(tmp_path)
    run = spec("peft", rate=3e-2, interpolation=PLACES, peft_type="IA3")
    (outcome,) = train_cohort([run], stuff)
    config = run.method.settings.peft_config(stuff.backbone)
    model = original(tmp_path, stuff, outcome)
    whole = peft.get_peft_model(model, config, autocast_adapter_dtype=False).eval()
    named = dict(whole.named_parameters())

    def by_hand(alpha: float) -> dict[str, float]:
        with torch.no_grad():
            for name, value in outcome.tensors.items():
                own = name.partition("::")[2].removeprefix("model.")
                between = 1 + alpha * (value - 1) if "ia3_l" in own else value
                named[own].copy_(between)
        return scores(whole, stuff)

    found = measured(outcome)
    for alpha in PLACES:
        assert found[alpha] == pytest.approx(by_hand(alpha), abs=1e-6), alpha
    assert abs(by_hand(0.3)["loss"] - found[0.25]["loss"]) > 1e-5


def test_the_last_place_is_the_runs_own_and_nothing_else_changes(tmp_path: Path) -> None:
    """Members of a cohort are measured together, and each as it is alone."""
    stuff = material(tmp_path)
    plain = train_cohort([spec("lora"), spec("full", rate=3e-3), spec("ia3")], stuff)
    places = {"interpolation": PLACES}
    runs = [spec("lora", **places), spec("full", rate=3e-3, **places), spec("ia3", **places)]
    together = train_cohort(runs, stuff)
    for one, other in zip(plain, together, strict=True):
        assert one.interpolation == []
        assert one.metrics == other.metrics
        assert one.predictions is not None
        assert other.predictions is not None
        assert np.array_equal(one.predictions["loss"], other.predictions["loss"])
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
        last = other.interpolation[-1]
        assert last == {"alpha": 1.0, "metrics": other.metrics}
        assert other.interpolation[0]["metrics"] != other.metrics
        json.dumps(other.interpolation, allow_nan=False)
    alone = train_cohort([spec("ia3", **places)], stuff)[0]
    for mine, theirs in zip(alone.interpolation, together[2].interpolation, strict=True):
        for split in ("validation", "test"):
            assert mine["metrics"][split] == pytest.approx(theirs["metrics"][split], abs=1e-9)


def test_a_probe_is_not_measured_between(tmp_path: Path) -> None:
    probe = spec("lora", kind="probe", interpolation=PLACES)
    assert train_cohort([probe], material(tmp_path))[0].interpolation == []
