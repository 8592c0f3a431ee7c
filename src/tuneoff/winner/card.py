"""The model card: README.md with the header that the Hugging Face hub reads.

Source of the header's form: huggingface/hub-docs `modelcard.md` and `docs/hub/model-cards`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tuneoff.backbones.names import builtin_names, folder_of
from tuneoff.datasets import SHIFT
from tuneoff.report import quantities as q
from tuneoff.report.contents import Contest, MethodResult
from tuneoff.whole_file import write_whole
from tuneoff.winner.card_code import is_pair, peft_code, plain_code
from tuneoff.winner.manifest import Manifest

_COSTS = {
    "trainable_parameters": ("Trainable parameters", q.count),
    "train_seconds": ("Training time of one run", q.duration),
    "peak_memory_bytes": ("Peak memory of training", q.memory),
    "adapter_bytes": ("Stored size", q.memory),
    "inference_seconds_per_example": ("Inference per example", q.duration),
}


def write_card(
    folder: Path,
    manifest: Manifest,
    record: Mapping[str, Any],
    contest: Mapping[str, Any],
    check: Mapping[str, Any],
    why: str,
) -> Path:
    """Writes README.md. contest: the verdict on it, or {}; check: content of check.json."""
    verdict = Contest.model_validate(dict(contest)) if contest else None
    header = yaml.safe_dump(_header(manifest, record), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{header}---",
        f"# {manifest.method.name} on {manifest.backbone.name}, for {manifest.task.name}",
        _what(manifest, why, check),
        f"## Use\n\n{_use(manifest, check)}",
        f"## Data\n\n{_data(manifest, record)}",
        f"## Training\n\n{_training(manifest, record)}",
        f"## Results\n\n{_results(manifest, record, verdict)}",
        f"## Cost\n\n{_cost(record, verdict)}",
        f"## Check\n\n{_check(check)}",
        f"## Limits\n\n{_limits(manifest, verdict)}",
        "## Versions\n\n" + ", ".join(f"{name} {v}" for name, v in manifest.versions.items()) + ".",
    ]
    return write_whole(folder / "README.md", "\n\n".join(parts) + "\n")


def _header(manifest: Manifest, record: Mapping[str, Any]) -> dict[str, Any]:
    on_hub = folder_of(manifest.backbone.path) is None
    peft = manifest.form == "peft"
    scores = (record["metrics"].get("test") or {}).items()
    metrics = [
        {"type": _hub_metric(name), "name": q.metric_name(name), "value": round(value, 6)}
        for name, value in scores
        if isinstance(value, int | float)
    ]
    data = {"name": manifest.data.title, "type": manifest.task.name, "split": "test"}
    kind = manifest.make_task().hub_tag
    tags = ["tuneoff", kind, manifest.method.part]
    result = {
        "task": {"type": kind},
        "dataset": data,
        "metrics": metrics,
    }
    header: dict[str, Any] = {
        "library_name": "peft" if peft else "transformers",
        "pipeline_tag": kind,
        "tags": [*dict.fromkeys([*tags, *(["synthetic-data"] if manifest.data.synthetic else [])])],
        "metrics": list(dict.fromkeys(one["type"] for one in metrics if one["type"] != "loss")),
        "model-index": [{"name": f"{manifest.study}-{manifest.method.name}", "results": [result]}],
    }
    if on_hub:
        relation = "adapter" if manifest.form != "model" else "finetune"
        header = {
            "base_model": manifest.backbone.path, "base_model_relation": relation, **header
        }  # fmt: skip
    return header


def _hub_metric(name: str) -> str:
    """The hub's identifier of a metric."""
    known = {"macro_f1": "f1", "micro_f1": "f1", "weighted_f1": "f1",
             "matthews": "matthews_correlation"}  # fmt: skip
    return known.get(name, name)


def _what(manifest: Manifest, why: str, check: Mapping[str, Any]) -> str:
    head = " with what of the head was trained" if check["head"]["sites"] else ""
    form = {
        "peft": f"a PEFT adapter{head}",
        "model": "a whole Hugging Face model",
        "hooks": "trained tensors in tuneoff's own form, since this method cannot be saved in a "
        "form that PEFT or plain transformers load",
    }[manifest.form]
    about = manifest.make_task().about(manifest.data.texts, manifest.classes)
    return (
        f"{about} This folder holds {form}, trained "
        f"in the tuneoff study `{manifest.study}` (run `{manifest.run_id}`, seed {manifest.seed}). "
        f"Why this one: {why}."
    )


def _use(manifest: Manifest, check: Mapping[str, Any]) -> str:
    parts = [
        "With tuneoff (new rows as CSV, TSV, JSON, JSONL or Parquet):\n\n"
        "```sh\ntuneoff predict FOLDER --input new.csv --output predicted.csv\n```"
    ]
    rounded_pair = is_pair(manifest) and manifest.backbone.options["quantization"] != "none"
    if manifest.form == "peft" and not rounded_pair:
        parts.append(f"With PEFT:\n\n```python\n{peft_code(manifest, check['head']['sites'])}\n```")
    if manifest.form == "model":
        parts.append(f"With transformers:\n\n```python\n{plain_code(manifest, 'FOLDER')}\n```")
    if "value" in check.get("merged", {}):
        code = plain_code(manifest, "FOLDER/merged")
        parts.append(
            f"Merged, with transformers alone ({check['merged']['weights']}):\n\n"
            f"```python\n{code}\n```"
        )
    return "\n\n".join(parts)


def _data(manifest: Manifest, record: Mapping[str, Any]) -> str:
    data = record.get("data") or {}
    rows = data.get("rows") or data  # examples are windows of questions, blocks of texts
    sizes = ", ".join(
        f"{q.whole(rows[split])} {split}"
        for split in ("train", "validation", "test")
        if isinstance(rows.get(split), int)
    )
    lines = [f"{manifest.data.title} (`{manifest.data.dataset}`): {sizes} rows."]
    if manifest.data.synthetic:
        lines.append(
            "**The data is synthetic**: generated by rule, not collected from people. Scores on it "
            "say nothing about real texts."
        )
    if (leaked := data.get("leaked_test_rows")) is not None:
        lines.append(
            f"{q.whole(leaked)} test rows stand in train too, so the scores are too good."
            if leaked
            else "No test row stands in train."
        )
    if manifest.max_length:
        lines.append(f"Texts are cut at {manifest.max_length} tokens.")
    return " ".join(lines)


def _training(manifest: Manifest, record: Mapping[str, Any]) -> str:
    settings = {
        "method": manifest.method.part,
        **{k: v for k, v in manifest.method.settings.items() if k != "learning_rate"},
        "learning_rate": manifest.learning_rate,
        "seed": manifest.seed,
        **manifest.training,
        **{f"backbone {k}": v for k, v in manifest.backbone.options.items() if v is not None},
    }
    rows = [f"| {name} | {_cell(value)} |" for name, value in settings.items()]
    steps = (
        f"{record.get('steps')} steps; the checkpoint of step {record.get('best_step')} was kept."
    )
    table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
    return (
        f"Backbone: `{manifest.backbone.path}` (hash of its weights "
        f"`{manifest.backbone.weights}`). {steps}\n\n{table}"
    )


def _cell(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def _results(manifest: Manifest, record: Mapping[str, Any], verdict: Contest | None) -> str:
    metric = record["primary_metric"]
    test = (record["metrics"].get("test") or {}).get(metric)
    validation = (record["metrics"].get("validation") or {}).get(metric)
    name = q.metric_name(metric)
    lines = [
        f"This run: {name} {q.score(metric, test)} on test, {q.score(metric, validation)} on "
        "validation. It is one seed, and the best of its method on validation; what to expect of "
        "the method is the mean over seeds."
    ]
    lines[0] += _further(record)
    if verdict is None or not verdict.methods:
        return lines[0] + " There is no verdict on its contest."
    if verdict.headline:
        lines.append(verdict.headline)
    level = f"{verdict.confidence_level:.0%}"
    rows = [
        f"| method | seeds | {name}, mean | {level} interval | against the best |",
        "| --- | --- | --- | --- | --- |",
        *(_row(metric, one, verdict, manifest.run_id) for one in verdict.ranked),
    ]
    lines.append("\n".join(rows))
    if verdict.noise_floor and verdict.noise_floor.sentence:
        lines.append(verdict.noise_floor.sentence)
    return "\n\n".join(lines)


def _further(record: Mapping[str, Any]) -> str:
    """This run's score on each further test set."""
    metric, data = record["primary_metric"], record.get("data") or {}
    parts = [
        f" On the further test set {split.removeprefix(SHIFT)}, of rows of another kind"
        f"{f' ({q.whole(size)})' if isinstance(size := data.get(split), int) else ''}: "
        f"{q.score(metric, scores.get(metric))}."
        for split, scores in record["metrics"].items()
        if split.startswith(SHIFT)
    ]
    return "".join(parts)


def _row(metric: str, one: MethodResult, verdict: Contest, run_id: str) -> str:
    shown = f"**{one.method}**" if run_id in (one.run_ids or ()) else one.method
    versus = "best" if one.method == verdict.best else ""
    if not versus and one.versus_best and one.versus_best.difference is not None:
        tied = " (tied)" if one.method in verdict.tied_with_best else ""
        versus = q.difference(metric, one.versus_best.difference) + tied
    return (
        f"| {shown} | {one.n} | {q.score(metric, one.mean)} | "
        f"{q.score_interval(metric, one.interval)} | {versus} |"
    )


def _cost(record: Mapping[str, Any], verdict: Contest | None) -> str:
    own = record.get("cost") or {}
    full = verdict.result("full") if verdict is not None else None
    lines = ["| | this method | full fine-tuning |", "| --- | --- | --- |"]
    for key, (name, text) in _COSTS.items():
        other = text(full.cost_of(key)) if full is not None else q.NOTHING
        lines.append(f"| {name} | {text(own.get(key))} | {other} |")
    return "\n".join(lines)


def _check(check: Mapping[str, Any]) -> str:
    rows, seen = check["rows"], check["reloaded"]
    lines = [
        f"Loaded again in a fresh process and scored on {rows['test']} test and "
        f"{rows['validation']} validation rows: {_differences(seen)} those of the run."
    ]
    if library := check.get("library"):
        lines.append(
            f"Through `{library['with']}`, {library['rows']} rows: {_differences(library)} those "
            "of the run."
        )
    merged = check["merged"]
    if "value" in merged:
        metric = merged["metric"]
        lines.append(_merged_line("Merged into the weights", merged, metric))
        if again := merged.get("requantized"):
            lines.append(
                _merged_line(f"Merged and again in {again['quantization']}", again, metric)
            )
    else:
        lines.append(f"Not merged: {merged['skipped']}.")
    return " ".join(lines)


def _differences(seen: Mapping[str, Any]) -> str:
    """`0 of 30 classes differ, probabilities by at most 3e-08, from`"""
    parts = []
    for what in ("spans", "texts"):
        if seen.get(what):
            parts.append(f"{seen[f'{what}_differ']} of {seen[what]} {what} differ")
    if (most := seen.get("max_probability_difference")) is not None:
        parts.append(f"{seen['predictions_differ']} predictions differ")
        parts.append(f"probabilities by at most {most:.1g}")
    if (most := seen.get("max_loss_difference")) is not None:
        parts.append(f"losses {'' if parts else 'differ '}by at most {most:.1g}")
    return ", ".join(parts) + ", from"


def _merged_line(what: str, merged: Mapping[str, Any], metric: str) -> str:
    differ = f"{merged['predictions_differ']} predictions differ"
    if "max_probability_difference" not in merged:
        differ += f", losses by at most {merged['max_loss_difference']:.1g}"
    return (
        f"{what}: {q.metric_name(metric)} {q.score(metric, merged['value'])} on {merged['rows']} "
        f"test rows ({q.difference(metric, merged['difference'])} against unmerged), {differ}."
    )


def _limits(manifest: Manifest, verdict: Contest | None) -> str:
    lines = [
        "Its scores hold for texts like those of its test split; on others it was not measured.",
        "It carries whatever its backbone learned before, biases included.",
    ]
    if manifest.classes:
        lines = [
            f"It knows {len(manifest.classes)} classes and no other: every text gets one.",
            *lines,
            "Its probabilities were not calibrated.",
        ]
    elif manifest.make_task().answers_in_text:
        lines.append("What it answers may be wrong, however sure it sounds.")
    if manifest.data.synthetic:
        lines.insert(0, "It was trained on synthetic data and is an example, not a product.")
    if manifest.form == "peft":
        lines.append(
            "It works on its own backbone alone; other weights below it give wrong answers."
        )
    if manifest.backbone.path in builtin_names():
        lines.append("The backbone is a small one that tuneoff brings.")
    if verdict is not None:
        lines += verdict.warnings
    return "\n".join(f"- {line}" for line in lines)
