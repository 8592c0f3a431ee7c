"""The one training loop: cohorts of members over one frozen backbone.

    outcomes = train_cohort(specs, material, checkpoint=Path("checkpoints/c0.pt"))

Each pass of the loop is one optimizer step of every member that still trains: their batches stand
end to end in one flat batch of real tokens, frozen layers run once over all of it, losses are
summed, so gradients never mix, and every member clips, steps and schedules for itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tuneoff.data.batches import micro_batches
from tuneoff.datasets import SHIFT
from tuneoff.metrics import Predicted
from tuneoff.metrics import evaluate as scored
from tuneoff.registry import get
from tuneoff.runs import RunSpec
from tuneoff.training import checkpoints
from tuneoff.training import layout as layouts
from tuneoff.training.evaluation import columns_of, evaluate, final_scores, joined
from tuneoff.training.interpolation import interpolated
from tuneoff.training.layout import Layout
from tuneoff.training.member import Member
from tuneoff.training.outcome import Limits, Material, Outcome, Progress, Report, Stage
from tuneoff.training.passes import Passes

_PADDED_PARTS = 4  # sorted parts of a batch where padding is computed: performance notes, section 1


def train_cohort(
    specs: Sequence[RunSpec],
    material: Material,
    checkpoint: Path | None = None,
    limits: Limits = Limits(),
    report: Report | None = None,
    stage: Stage = Stage(),
) -> list[Outcome]:
    """Train, choose the best checkpoint on the validation split, test once; in the specs' order.

    stage: of probes that may be stopped early; the outcome of one that stopped at the stage's rung
    is `stopped`, and a later call with the same state file goes on with it, whoever else is in the
    cohort.

    checkpoint: file that holds the whole state of the cohort, written atomically; when it exists,
    training goes on from it, to the same final numbers bit for bit on a CPU. The caller removes it
    when the outcomes are safe.

    A member that diverges leaves without harm to the others. Out of memory is not caught here:
    torch.OutOfMemoryError or MemoryError reaches the caller, who may try again with smaller
    `limits.micro_batch_tokens`, from the checkpoint.
    """
    cohort = Cohort(specs, material, limits)
    if checkpoint is not None and checkpoint.exists():
        checkpoints.restore(checkpoint, cohort.members)
    else:
        checkpoints.restore_each(stage, cohort.members)
    for member in cohort.members:
        member.go_on(stage.until)
    saved = time.monotonic()
    cohort.begin()
    while cohort.active:
        losses = cohort.step()
        cohort.evaluate_due()
        if report is not None:
            report(cohort.progress(losses))
        if checkpoint is not None and time.monotonic() - saved >= limits.checkpoint_seconds:
            checkpoints.save(checkpoint, cohort.members)
            saved = time.monotonic()
    if checkpoint is not None and len(cohort.members) > 1 and stage.until is not None:
        checkpoints.save(checkpoint, cohort.members)  # a kill among the states changes no company
    checkpoints.save_each(stage, cohort.members)
    return cohort.outcomes(report)


class Cohort:
    """Runs that are trained together."""

    def __init__(self, specs: Sequence[RunSpec], material: Material, limits: Limits):
        self.material, self.limits = material, limits
        training = specs[0].training
        if training.precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        torch.manual_seed(specs[0].seed)  # for architectures that draw from the global stream
        self.members = [Member(spec, material) for spec in specs]
        self.passes = Passes(material, self.members, training, limits)
        self.device = material.backbone.device

    @property
    def active(self) -> list[Member]:
        """Members that still train."""
        return [member for member in self.members if not member.finished]

    def begin(self) -> None:
        """Carry those that still train, in training mode."""
        self.passes.carry(self.active)
        self.passes.set_training(True)

    def step(self) -> dict[str, float]:
        """One optimizer step of every active member; -> loss by run_id."""
        started = time.perf_counter()
        members = self.active
        batches = [member.batch() for member in members]
        totals = [0.0] * len(members)
        weights = [self._row_weight(m, b) for m, b in zip(members, batches, strict=True)]
        tokens = [0] * len(members)
        for parts in self._parts(members, batches):
            for index, value in self._forward_backward(members, parts, weights).items():
                totals[index] += value
        lengths = self.material.features["train"].lengths
        for index, batch in enumerate(batches):
            tokens[index] = int(lengths[batch].sum())
        losses = {}
        for member, total in zip(members, totals, strict=True):
            losses[member.spec.run_id] = total
            self._finish_step(member, total)
        spent = time.perf_counter() - started
        for member, count in zip(members, tokens, strict=True):
            member.tokens += count
            member.seconds["train"] += spent * count / max(1, sum(tokens))
            if (
                self.limits.seconds is not None
                and member.seconds["train"] > self.limits.seconds
                and not member.finished
            ):
                member.leave(
                    "over_budget",
                    f"training took longer than "
                    f"{self.limits.seconds:.0f} s; stopped at step {member.step} of "
                    f"{member.steps}",
                )
        if any(member.finished for member in members):
            self.begin()
        return losses

    def _finish_step(self, member: Member, loss: float) -> None:
        if (not np.isfinite(loss) and not member.loss_scale.enabled) or member.loss_scale.exhausted:
            member.leave(
                "diverged",
                f"the loss became {loss} at step {member.step + 1} of "
                f"{member.steps} (learning rate {member.spec.learning_rate:g}); "
                f"{self._overflow() or 'try a smaller learning rate or a longer warm-up'}",
            )
            return
        member.losses.append(loss)
        member.update()

    def _overflow(self) -> str | None:
        """Whether the arithmetic may be to blame, in a sentence."""
        from tuneoff.planning.warnings import fp16_overflow

        backbone = self.material.backbone
        dtype = str(backbone.model.dtype).removeprefix("torch.")
        precision = self.members[0].training.precision
        return fp16_overflow(backbone.config.model_type, precision, dtype)

    def _parts(
        self, members: list[Member], batches: list[np.ndarray]
    ) -> list[dict[int, np.ndarray]]:
        """The step's forward passes: member index -> examples."""
        lengths = self.material.features["train"].lengths
        split = []
        budget = self.limits.micro_batch_tokens
        for member, batch in zip(members, batches, strict=True):
            largest = member.training.micro_batch_size
            if self.passes.padded and self.device.type == "cpu" and len(batch) >= 2 * _PADDED_PARTS:
                quarter = -(-len(batch) // _PADDED_PARTS)
                largest = quarter if largest is None else min(largest, quarter)
            own = None if budget is None else max(1, budget // len(members))
            split.append(micro_batches(batch, lengths, largest, own))
        return [
            {index: parts[turn] for index, parts in enumerate(split) if turn < len(parts)}
            for turn in range(max(len(parts) for parts in split))
        ]

    def _forward_backward(
        self, members: list[Member], parts: dict[int, np.ndarray], weights: list[float]
    ) -> dict[int, float]:
        """One forward and backward pass of some members; -> their share of the step's loss."""
        taking = [members[index] for index in parts]
        if taking != self.passes.members:
            self.passes.carry(taking)
        layout = layouts.build(
            self.material.features["train"],
            list(parts.values()),
            self.passes.reads,
            self.device,
            streams=[member.stream for member in taking],
            dropout_rates=[member.training.dropout for member in taking],
        )
        logits = self.passes.logits(layout, "train")
        rows = self.material.task.losses(logits, layout)
        smoothing = taking[0].training.label_smoothing
        if smoothing and layout.form != "span":
            spread = -torch.log_softmax(logits.float(), -1).mean(-1)
            rows = (1 - smoothing) * rows + smoothing * spread
        rows = rows * self._row_weights(layout, [weights[index] for index in parts], taking)
        shares = [rows[start:end].sum() for start, end in layout.loss_bounds]
        scaled = [
            share * member.loss_scale.value for share, member in zip(shares, taking, strict=True)
        ]
        total: Tensor = scaled[0] if len(scaled) == 1 else torch.stack(scaled).sum()
        total.backward()
        values = torch.stack([share.detach() for share in shares]).tolist()
        return dict(zip(parts, values, strict=True))

    def _row_weight(self, member: Member, batch: np.ndarray) -> float:
        """What one row of the head counts in a member's batch, over all its micro-batches."""
        features = self.material.features["train"]
        if not features.per_token or self._by_example(member):
            return 1.0 / len(batch)
        return 1.0 / max(1, int(features.labelled(batch).sum()))

    def _by_example(self, member: Member) -> bool:
        """Whether every example counts the same; language models default to tokens, as Trainer."""
        per_token = self.material.features["train"].per_token
        weighting = member.training.loss_weighting
        return weighting == "example" or (weighting is None and not per_token)

    def _row_weights(self, layout: Layout, weights: list[float], taking: list[Member]) -> Tensor:
        """The weight of each loss in its member's."""
        sizes = [end - start for start, end in layout.loss_bounds]
        flat = torch.repeat_interleave(torch.tensor(weights), torch.tensor(sizes))
        if layout.form in ("token", "sequence") and any(self._by_example(m) for m in taking):
            sequence = layout.sequence_of_loss
            counts = np.bincount(sequence, minlength=len(layout.order))[sequence]
            by_example = np.repeat([self._by_example(m) for m in taking], sizes)
            flat = flat / torch.from_numpy(np.where(by_example, counts, 1))
        return flat.to(self.device)

    def evaluate_due(self) -> None:
        """Evaluate the members for which it is time; keep the best; stop those that are done."""
        due = [m for m in self.active if m.evaluation_due or m.at_rung]
        if not due:
            return
        if "validation" in self.material.features:
            started = time.perf_counter()
            self.passes.carry(due)
            results = evaluate(self.passes, self.material, "validation")
            spent = (time.perf_counter() - started) / len(due)
            for member, result in zip(due, results, strict=True):
                member.seconds["evaluation"] += spent
                metrics = member.spec.task.all_metrics
                scores = scored(["loss"], result) | scored(metrics, result, at_the_end=False)
                if member.at_rung:
                    member.rungs.append({"step": member.step, "validation": _floats(scores)})
                if member.evaluation_due:
                    self._judge(member, scores)
        for member in due:
            if member.step >= member.steps and not member.finished:
                member.leave("done")
            if member.at_rung and not member.finished:
                member.stop_at_rung()
        self.begin()

    def _judge(self, member: Member, scores: dict[str, object]) -> None:
        """Note an evaluation; keep the best checkpoint; stop after too many without a better."""
        mean_loss = float(np.mean(member.losses)) if member.losses else None
        member.losses.clear()
        member.history.append(
            {
                "step": member.step,
                "epoch": member.step / member.per_epoch,
                "train_loss": mean_loss,
                "validation": _floats(scores),
            }
        )
        primary = self.material.selection_metric(member.spec.task)
        value = float(scores[primary])  # type: ignore[arg-type]
        sign = 1.0 if get("metrics", primary).higher_is_better else -1.0
        score = sign * value if np.isfinite(value) else -np.inf
        if member.best_score is None or score > member.best_score:
            member.best_score, member.best_step, member.without_better = score, member.step, 0
            if member.training.best_checkpoint:
                member.best = member.parameters.snapshot()
        else:
            member.without_better += 1
            patience = member.training.early_stopping_patience
            if patience is not None and member.without_better >= patience:
                member.leave("done")

    def progress(self, losses: Mapping[str, float], stage: str = "") -> Progress:
        """How far the members are."""
        due = sum(member.due for member in self.members)
        return Progress(sum(member.step for member in self.members), due, losses, stage)

    def outcomes(self, report: Report | None = None) -> list[Outcome]:
        """Every member on the splits that it may see, at its best checkpoint."""
        tell = report or (lambda _: None)
        done = [member for member in self.members if member.status == "done"]
        for member in done:
            if member.best is not None:
                member.parameters.restore(member.best)
        features = self.material.features
        shifts = [split for split in features if split.startswith(SHIFT)]
        splits = [split for split in ("validation", "test", *shifts) if split in features]
        results: dict[str, dict[str, Predicted]] = {m.spec.run_id: {} for m in done}
        for split in splits:
            wanted = [m for m in done if split == "validation" or m.spec.kind == "run"]
            if not wanted:
                continue
            tell(self.progress({}, f"on {split}"))
            started = time.perf_counter()
            self.passes.carry(wanted)
            found = evaluate(self.passes, self.material, split, in_text=split != "validation")
            for member, result in zip(wanted, found, strict=True):
                results[member.spec.run_id][split] = result
                member.seconds["evaluation"] += (time.perf_counter() - started) / len(wanted)
        started = time.perf_counter()
        runs = [member for member in done if member.spec.kind == "run"]
        if runs and runs[0].spec.evaluation.interpolation:
            tell(self.progress({}, "between the models"))
        between = interpolated(self.passes, self.material, runs, results)
        for member in runs:
            member.seconds["evaluation"] += (time.perf_counter() - started) / len(runs)
        return [
            self._outcome(
                member,
                results.get(member.spec.run_id, {}),
                between.get(member.spec.run_id, []),
            )
            for member in self.members
        ]

    def _outcome(
        self, member: Member, results: dict[str, Predicted], between: list[dict[str, Any]]
    ) -> Outcome:
        outcome = Outcome(
            member.spec,
            member.status,
            member.reason,
            interpolation=between,
            history=member.history,
            rungs=member.rungs,
            best_step=member.best_step if member.training.best_checkpoint else member.step,
            steps=member.step,
            trainable_parameters=member.parameters.count,
            train_seconds=member.seconds["train"],
            evaluation_seconds=member.seconds["evaluation"],
            tokens=member.tokens,
            notes=self._notes(),
        )
        if member.status != "done":
            return outcome
        columns = []
        for split, result in results.items():
            scores, details = final_scores(member.spec.task.all_metrics, result, split)
            outcome.metrics[split] = scores | scored(["loss"], result)
            shifted = split.startswith(SHIFT)
            outcome.metric_details |= {} if shifted else details
            outcome.notes += [
                f"{name}{f' on {split}' if shifted else ''}: {about[key]}"
                for name, about in details.items()
                for key in ("failed", "warning")
                if key in about
            ]
            columns.append(columns_of(result, split, member.spec.task.primary_metric))
        if columns:
            outcome.predictions = joined(columns)
        outcome.tensors = member.parameters.tensors()
        return outcome

    def _notes(self) -> list[str]:
        notes = [note] if (note := self._overflow()) else []
        if self.passes.entry > 0:
            notes.append(
                f"the frozen part below place {self.passes.entry} of "
                f"{self.material.backbone.blocks} blocks ran once per example, "
                "without dropout (cache_frozen_prefix)"
            )
        if self.passes.uncached is not None:
            notes.append(
                "the frozen part ran anew in every pass, although cache_frozen_prefix is on: "
                f"{self.material.backbone.config.model_type} cannot be entered above it "
                f"({self.passes.uncached})"
            )
        return notes


def _floats(scores: Mapping[str, object]) -> dict[str, float]:
    """The scores that are one number each."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}
