"""A trained run between the original model and what it became: theta0 + alpha (theta - theta0).

Every site's change of its output is scaled by alpha, which for weights, biases, norms and
embeddings is the output of the interpolated parameters: full fine-tuning goes in a straight line
from the pretrained weights, LoRA's and DoRA's from W to W + alpha (W' - W), IA3's scales from one,
BitFit's offsets from zero, and a bottleneck adapter adds alpha times what it added. New heads stay
as they were trained; without them there would be nothing to judge. A method that rewrites the model
(`peft`) has its own parameters interpolated from where they started.

Source: Wortsman et al. 2022 (WiSE-FT, arXiv 2109.01903), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneoff.metrics import Predicted
from tuneoff.metrics import evaluate as scored
from tuneoff.training.evaluation import evaluate
from tuneoff.training.member import Member
from tuneoff.training.outcome import Material
from tuneoff.training.passes import Passes


def interpolated(
    passes: Passes,
    material: Material,
    members: Sequence[Member],
    results: Mapping[str, Mapping[str, Predicted]],
) -> dict[str, list[dict[str, Any]]]:
    """By run_id, each place that the study names with the scores there.

    results: by run_id and split, what the trained runs answered; place 1 is taken from there.
    Tables are left out, and metrics that ask another model.
    """
    found: dict[str, list[dict[str, Any]]] = {member.spec.run_id: [] for member in members}
    for alpha in members[0].spec.evaluation.interpolation if members else ():
        answers = results if alpha == 1 else _answers(passes, material, members, alpha, results)
        for member in members:
            metrics = {
                split: _scores(member.spec.task.all_metrics, rows)
                for split, rows in answers[member.spec.run_id].items()
            }
            found[member.spec.run_id].append({"alpha": alpha, "metrics": metrics})
    return found


def _answers(
    passes: Passes,
    material: Material,
    members: Sequence[Member],
    alpha: float,
    results: Mapping[str, Mapping[str, Predicted]],
) -> dict[str, dict[str, Predicted]]:
    """What the members answer at a place on the splits of `results`."""
    answers: dict[str, dict[str, Predicted]] = {member.spec.run_id: {} for member in members}
    passes.carry(members)
    with passes.scaled(alpha):
        for split in results[members[0].spec.run_id]:
            rows = evaluate(passes, material, split, in_text=split != "validation")
            for member, own in zip(members, rows, strict=True):
                answers[member.spec.run_id][split] = own
    return answers


def _scores(metrics: Any, rows: Predicted) -> dict[str, float]:
    scores = scored(["loss"], rows) | scored(metrics, rows, at_the_end=False)
    return {name: value for name, value in scores.items() if isinstance(value, float)}
