"""Hands a study's winner over: saved, checked in a fresh process, merged, described.

    folder = export_winner(Path("runs/quickstart"))

    winner/
      adapter_config.json adapter_model.safetensors   (PEFT form)
      or config.json model.safetensors                (whole model)
      or tuneoff_hooks.safetensors                    (neither is possible)
      tokenizer files  tuneoff.json  check.json  README.md
      merged/          a plain model, where hooks fold into the weights

A study of several contests has one such folder for each: `winner/<backbone>-<task>/`.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneoff import fit, registry
from tuneoff.datasets import SPLITS
from tuneoff.errors import LedgerError, TuneoffError
from tuneoff.ledger import Ledger
from tuneoff.study import BackboneSpec, DataSpec
from tuneoff.winner.card import write_card
from tuneoff.winner.check import (
    CheckError,
    Recorded,
    in_fresh_process,
    recorded_rows,
    write_check,
)
from tuneoff.winner.choice import Choice, choose
from tuneoff.winner.judgement import judge
from tuneoff.winner.manifest import (
    BackboneFacts,
    DataFacts,
    Manifest,
    Part,
    kept_options,
    portable,
    weights_hash,
)
from tuneoff.winner.tensors import load_tensors, tensors_path

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import BackboneOptions
    from tuneoff.backbones.names import BackboneKind, Head
    from tuneoff.data.encoded import Splits
    from tuneoff.methods import Method
    from tuneoff.tasks import Task

CHEAP_BYTES = 500_000_000
"""A merged model up to this size is saved without being asked for."""


@dataclass(frozen=True)
class _Run:
    """A run of the ledger, with its parts made again from its settings."""

    choice: Choice
    method: Method
    task: Task
    options: BackboneOptions
    head: Head
    kind: BackboneKind
    room: int | None
    splits: Splits
    data: DataSpec

    @property
    def is_pair(self) -> bool:
        """Whether an encoder writes, as one half of two."""
        return self.kind == "encoder" and self.head == "seq2seq_lm"

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.choice.record["settings"]
        return settings


def export_winner(
    out: Path,
    method: str | None = None,
    run_id: str | None = None,
    to: Path | None = None,
    merge: bool | None = None,
    device: str = "auto",
) -> Path:
    """Saves and checks the winner of each contest; returns the folder (`out/winner`, or `to`).

    method, run_id: another method's best seed, or one run, in place of the verdict's choice.
    merge: save the merged model too; None does where it is cheap (`CHEAP_BYTES`).

    Raises CheckError when what was saved does not predict what the run did; the folder is then
    kept as `winner.failed`, and what stood in `winner` stays. Raises LedgerError, DataError or
    BackboneError when the study's results, data or backbone are not there.
    """
    target = to or out / "winner"
    _check_target(target)
    choices = choose(out, method, run_id)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    failed = target.with_name(f"{target.name}.failed")
    for leftover in (unfinished, failed):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    failures: list[str] = []
    try:
        for choice in choices:
            folder = unfinished / choice.slug if len(choices) > 1 else unfinished
            found = _export_one(out, choice, folder, merge, device)
            failures += [f"{choice.slug}: {failure}" for failure in found]
        if failures:
            unfinished.rename(failed)
            raise CheckError(_failed(failed, failures))
        _replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _export_one(
    out: Path, choice: Choice, folder: Path, merge: bool | None, device: str
) -> list[str]:
    """Writes one contest's folder; returns what its check found wrong."""
    from tuneoff.winner.loaded import chosen_device

    run, place = _run_of(choice), chosen_device(device)
    record = choice.record
    predictions = Ledger(out).predictions(record["run_id"])
    recorded = recorded_rows(
        predictions, run.splits.rows, run.splits.facts["columns"], run.task,
        record["classes"] or [],
    )  # fmt: skip
    manifest, not_merged = _save(out, run, folder, merge, place)
    check = _checked(out, run, folder, manifest, recorded, place, not_merged)
    write_check(folder, check)
    if check["passed"]:
        write_card(folder, manifest, record, choice.contest, check, choice.why)
    failures: list[str] = check["failures"]
    return failures


def _save(
    out: Path, run: _Run, folder: Path, merge: bool | None, device: str
) -> tuple[Manifest, str | None]:
    """Writes weights, tokenizer and manifest, and the merged model; its absence has a reason."""
    from tuneoff.backbones.backbone import load
    from tuneoff.winner.forms import form_of, write_form
    from tuneoff.winner.generation_file import write_generation
    from tuneoff.winner.merge import save_merged, unmergeable
    from tuneoff.winner.scorer import Scorer

    record = run.choice.record
    backbone = load(run.options, run.head, record["classes"] or ("0", "1"), device)
    tensors = load_tensors(out, record["run_id"])
    scorer = Scorer.of(backbone, run.method, tensors)
    form = form_of(backbone, run.method, scorer.hooks)
    manifest = _manifest(run, form, backbone.config.model_type)
    write_form(form, folder, scorer, run.method)
    write_generation(run.task, backbone, folder)
    manifest.write(folder)
    not_merged = None
    stubborn = unmergeable(backbone, scorer.hooks)
    size = 4 * backbone.total_parameters
    if form == "model":
        not_merged = "this is a whole model already"
    elif stubborn:
        not_merged = (
            f"{run.method.__class__.__name__} cannot be folded into the weights ({stubborn})"
        )
    elif merge is False:
        not_merged = "it was not asked for"
    elif merge is None and size > CHEAP_BYTES:
        not_merged = f"it would take {size / 1e9:.1f} GB; ask for it to have it"
    else:
        save_merged(backbone, scorer.hooks, folder / "merged")
        write_generation(run.task, backbone, folder / "merged")
        manifest.model_copy(update={"form": "model"}).write(folder / "merged")
    del scorer, backbone, tensors
    gc.collect()  # the fresh process needs the memory
    return manifest, not_merged


def _checked(
    out: Path,
    run: _Run,
    folder: Path,
    manifest: Manifest,
    recorded: Recorded,
    device: str,
    not_merged: str | None,
) -> dict[str, Any]:
    record = run.choice.record
    try:
        answers, facts = in_fresh_process(
            folder, tensors_path(out, record["run_id"]), recorded, device,
            merged=not_merged is None,
            # a pair's halves are not rounded alike once they are one
            quantized="none" if run.is_pair else run.options.quantization,
        )  # fmt: skip
    except CheckError as error:
        return {"passed": False, "failures": [str(error)]}
    return judge(manifest, recorded, answers, facts, record["primary_metric"], not_merged)


def _run_of(choice: Choice) -> _Run:
    """Raises LedgerError for a run whose parts cannot be made again."""
    from tuneoff.backbones.backbone import BackboneOptions
    from tuneoff.data.encoded import split_rows

    record = choice.record
    settings = record["settings"]
    task_settings, method_settings = _own(settings["task"]), _own(settings["method"])
    try:
        task = registry.get("tasks", settings["task"]["task"])(**task_settings)
        method = registry.get("methods", settings["method"]["method"])(**method_settings)
        data = DataSpec.model_validate(settings["task"]["data"])
        spec = BackboneSpec.model_validate(settings["backbone"])
    except (KeyError, ValueError) as error:
        raise LedgerError(
            f"run {record['run_id']}: its settings cannot be read ({error}); it was written by "
            "another version of tuneoff, so run the study again"
        ) from None
    head = task.head_for(fit.kind_of(spec))
    splits = split_rows(
        task, data.source, columns=_columns(data), split=data.split, limit=data.limit
    )
    options = replace(
        BackboneOptions(**fit.options(spec)),
        dequantized_cache_gb=None,
        new_tokens=task.new_tokens(head),
    )
    return _Run(choice, method, task, options, head, fit.kind_of(spec), fit.room_of(spec), splits,
                data)  # fmt: skip


def _own(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part's own settings, without what frames them in the ledger."""
    frame = ("name", "task", "method", "metric", "metrics", "data", "training")
    return {name: value for name, value in settings.items() if name not in frame}


def _columns(data: DataSpec) -> dict[str, str | list[str]]:
    return {k: v if isinstance(v, str) else list(v) for k, v in data.columns.items()}


def _manifest(run: _Run, form: Any, architecture: str) -> Manifest:
    record, settings = run.choice.record, run.settings
    reading = run.data.source.model_dump(
        mode="json", exclude={*SPLITS, "on_bad_rows", "drop_leaked"}
    )
    return Manifest(
        form=form,
        study=record["study"],
        run_id=record["run_id"],
        seed=record["seed"],
        learning_rate=record["learning_rate"],
        backbone=BackboneFacts(
            name=record["backbone"],
            path=portable(run.options.model),
            options=kept_options(run.options),
            weights=weights_hash(run.options.model, run.options.revision),
            architecture=architecture,
        ),
        task=Part(
            name=record["task"],
            part=settings["task"]["task"],
            settings=run.task.model_dump(mode="json"),
        ),
        method=Part(
            name=record["method"],
            part=settings["method"]["method"],
            settings=run.method.model_dump(mode="json"),
        ),
        data=DataFacts(
            dataset=run.data.dataset,
            reading=reading,
            columns=_columns(run.data),
            texts=list(run.splits.facts["columns"]),
            title=run.splits.report["source"],
            synthetic=run.splits.report["synthetic"],
        ),
        head=run.head,
        kind=run.kind,
        room=run.room,
        classes=list(record["classes"] or []),
        max_length=getattr(run.task, "max_length", None),
        training=dict(settings["training"]),
        versions={name: str(version) for name, version in record["versions"].items()},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_target(target: Path) -> None:
    """Raises TuneoffError rather than replace a folder that tuneoff did not write."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir() or not (
        (target / "tuneoff.json").exists() or any(target.glob("*/tuneoff.json"))
    ):
        raise TuneoffError(
            f"{target} exists, and is not a model that tuneoff saved; it is left as it is. Name "
            "another folder"
        )


def _replace(new: Path, target: Path) -> None:
    """Puts a whole folder in the place of an older one."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _failed(folder: Path, failures: list[str]) -> str:
    lines = "\n".join(f"  - {failure}" for failure in failures)
    return (
        f"the saved model does not pass its check, and was not handed over:\n{lines}\n"
        f"It is kept for a look in {folder} (see check.json). A defect of tuneoff is likely; "
        "please report it with that file"
    )
