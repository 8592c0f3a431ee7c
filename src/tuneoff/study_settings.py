"""The settings of a study that name no part: training, tuning, budget, splits, comparison.

Names and defaults are Hugging Face Trainer's where it has them; each default stands beside its
source.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tuneoff.settings import Settings
from tuneoff.study_parts import fault, faults

Share = Annotated[float, Field(gt=0, lt=1)]


class Group(Settings):
    """Settings of which some have no effect under the others."""

    def unused(self) -> dict[str, str]:
        """Field -> why it has no effect; giving such a field is a fault."""
        return {}

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        idle = {name: why for name, why in self.unused().items() if name in self.model_fields_set}
        if idle:
            raise faults(
                {(name,): f"has no effect: {why}; leave it out" for name, why in idle.items()}
            )
        return self

    def in_force(self) -> dict[str, Any]:
        """Plain JSON data of the fields that have an effect."""
        return self.model_dump(mode="json", exclude=set(self.unused()))


class Split(Settings):
    """How splits are made that the data does not bring."""

    validation: Share | Annotated[int, Field(gt=0)] = 0.1
    """Share, or number of rows, taken from train when there is no validation split."""
    test: Share | Annotated[int, Field(gt=0)] = 0.1
    """Share, or number of rows, taken from train when there is no test split."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw, of `limit` too."""
    stratify: bool = True
    """Keep the classes' shares in every split."""


class Limit(Settings):
    """At most so many rows of each split, drawn with `split.seed`."""

    train: int | None = Field(default=None, gt=0)
    """Rows of train; null takes all."""
    validation: int | None = Field(default=None, gt=0)
    """Rows of validation; null takes all."""
    test: int | None = Field(default=None, gt=0)
    """Rows of test; null takes all."""


class Training(Group):
    """How a run is trained; names and defaults are Hugging Face Trainer's where it has them."""

    epochs: float = Field(default=3, gt=0)
    """Passes over the train split. Source: BERT, arXiv 1810.04805, A.3 (2 to 4)."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimizer steps, instead of `epochs`."""
    batch_size: int = Field(default=16, gt=0)
    """Examples per optimizer step. Source: BERT, A.3 (16 or 32)."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Examples per forward pass; accumulation is exact. Null: as many as memory holds."""
    optimizer: Literal[
        "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "adafactor", "sgd"
    ] = "adamw"
    """AdamW (8-bit and paged by bitsandbytes), Adafactor, or plain gradient descent."""
    weight_decay: float = Field(default=0.01, ge=0)
    """On matrices only, not on biases and norms (as in Trainer). Source: BERT, A.2."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    """AdamW's decay rates of the moments."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's term against division by zero."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """The learning rate after warm-up: held, or down to zero at the last step."""
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero.
    Source: RoBERTa, arXiv 1907.11692, table 10; microsoft/LoRA NLU scripts; t-few."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """The same in steps, instead of `warmup_ratio`."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Each member's gradient is clipped to this norm; null does not clip."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward and backward pass; fp16 scales the loss."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout inside the backbone; null keeps the backbone's own."""
    gradient_checkpointing: bool = False
    """Compute activations twice to keep fewer of them."""
    loss_weighting: Literal["example", "token"] | None = None
    """Whether a batch's loss is a mean over examples or over labelled tokens; null: over tokens
    for language models and over examples for classification, as Trainer does."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    evaluate_every: Literal["epoch"] | Annotated[int, Field(gt=0)] = "epoch"
    """Evaluate on the validation split after each epoch, or every so many steps."""
    best_checkpoint: bool = True
    """Test the checkpoint that was best on the validation split, not the last one."""
    early_stopping_patience: int | None = Field(default=None, gt=0)
    """Stop after so many evaluations without a better one; null never does."""
    cache_frozen_prefix: bool = True
    """Run the layers below the lowest trained one once per example and keep the result.
    Dropout is then off in those layers."""

    def unused(self) -> dict[str, str]:
        reasons: dict[str, str] = {}
        if self.max_steps is not None:
            reasons["epochs"] = "max_steps is given, and both say how long to train"
        if self.warmup_steps is not None:
            reasons["warmup_ratio"] = "warmup_steps is given, and both say how long to warm up"
        if self.optimizer in ("sgd", "adafactor"):
            reasons |= dict.fromkeys(
                ("betas", "eps"), f"AdamW only, and optimizer is {self.optimizer}"
            )
        return reasons

    def overridden(self, other: Training | None) -> Training:
        """These settings, with those that `other` was given in their place."""
        if other is None:
            return self
        given = other.model_dump(exclude_unset=True)
        kept = self.model_dump(exclude_unset=True)
        for one, rival in (("max_steps", "epochs"), ("warmup_steps", "warmup_ratio")):
            if one in given or rival in given:
                kept.pop(one, None)
                kept.pop(rival, None)
        for name in Training.model_construct(**(kept | given)).unused():
            kept.pop(name, None)
        return Training.model_validate(kept | given)


class Tuning(Group):
    """The search for each method's learning rate: equal for all, on the validation split."""

    probes: int = Field(default=3, ge=0, le=32)
    """Learning rates tried per method, from its own grid; 0 takes each method's default rate."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Length of a probe as a share of a run's."""
    seed: int = Field(default=1000, ge=0)
    """The probes' seed: none of the study's own, so that no run is chosen for its luck."""
    halving: int | None = Field(default=None, ge=2)
    """Stop probes early: at each rung only the best one in so many goes on; null stops none.
    Source: successive halving, arXiv 1502.07943 (Hyperband, arXiv 1603.06560, takes 3)."""

    def unused(self) -> dict[str, str]:
        if self.halving is None or self.probes >= self.halving:
            return {}
        few = f"one probe in {self.halving} goes on, and there are {self.probes}"
        return {"halving": f"{few} (tuning.probes)"}


class Budget(Settings):
    """What the study may use; null sets no bound."""

    minutes: float | None = Field(default=None, gt=0)
    """For the whole study. Runs that would begin later are recorded as over budget."""
    run_minutes: float | None = Field(default=None, gt=0)
    """For the training of one run."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Of the device; what is free when not given."""
    workers: int | None = Field(default=None, gt=0)
    """Processes side by side; on a CPU one per core when not given."""


class Evaluation(Settings):
    """What is measured of a trained run beside its own scores."""

    interpolation: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    """Places between the original model (0) and the trained one (1), ascending, at which it is
    measured too; empty measures none. Source: Wortsman et al. 2022 (WiSE-FT, arXiv 2109.01903)."""

    @field_validator("interpolation")
    @classmethod
    def _ascending(cls, places: tuple[float, ...]) -> tuple[float, ...]:
        if list(places) != sorted(set(places)):
            raise fault(f"must ascend, and name no place twice; got {list(places)}")
        return places

    @property
    def repeats(self) -> int:
        """How often each split is read beside the run's own evaluation, which is place 1."""
        return sum(place != 1 for place in self.interpolation)


class Comparison(Settings):
    """How the verdict is reached."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals, and of the tests after correction."""
