"""Folders that a report must cope with, made from the simulated ones by rewriting their lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fixtures_ledger import make_folder
from tests.report.simple_verdicts import write_verdict

HTML_NAME = "<script>alert('x')</script>&\"$x_1$"
LONG_NAME = "lora_on_every_linear_layer_with_rank_sixty_four_and_rslora_scaling_v2"
Record = dict[str, Any]

STUDY = """\
name: simulated  # <b>not bold</b>
backbones: [mini-bert]
tasks: [synthetic]
methods: [full, lora]
seeds: 3
"""


def whole(path: Path) -> Path:
    """Seven methods, three seeds, and three runs that failed."""
    make_folder(path)
    (path / "study.yaml").write_text(STUDY)
    return write_verdict(path)


def rewrite(path: Path, change: Callable[[Record], Record | None], **verdict: Any) -> Path:
    """Changes or drops (None) every line of results and probes, then judges anew."""
    for name in ("results.jsonl", "probes.jsonl"):
        lines = (path / name).read_text().splitlines()
        changed = [change(json.loads(line)) for line in lines]
        kept = [json.dumps(record) + "\n" for record in changed if record is not None]
        (path / name).write_text("".join(kept))
    return write_verdict(path, **verdict)


def nothing_yet(path: Path) -> Path:
    return rewrite(make_folder(path, methods=["full"]), lambda record: None)


def part_finished(path: Path) -> Path:
    """One run of the first method, none of the others."""
    make_folder(path, methods=["full", "lora"], failures=False)
    return rewrite(path, lambda r: r if (r["method"], r["seed"]) == ("lora", 1) else None)


def all_failed(path: Path) -> Path:
    make_folder(path, methods=["full"])
    return rewrite(path, lambda record: record if record["status"] != "done" else None)


def one_method(path: Path) -> Path:
    return write_verdict(make_folder(path, methods=["lora"], failures=False))


def one_seed(path: Path) -> Path:
    return write_verdict(make_folder(path, methods=["full", "lora", "ia3"], seeds=[0]))


def several_contests(path: Path) -> Path:
    """Two backbones x two tasks."""
    make_folder(path, methods=["full", "lora"], backbones=2)
    lines = (path / "results.jsonl").read_text().splitlines()
    for line in lines:
        record = json.loads(line)
        record |= {"run_id": record["run_id"][::-1], "task": "sst5"}
        lines = [*lines, json.dumps(record)]
    (path / "results.jsonl").write_text("\n".join(lines) + "\n")
    return write_verdict(path)


def many_classes(path: Path) -> Path:
    """Thirty classes with long names."""
    make_folder(path, methods=["full", "lora"])
    random = np.random.default_rng(0)
    classes = [f"class number {index} of thirty" for index in range(30)]

    def change(record: Record) -> Record:
        record["classes"] = classes
        if record.get("metrics", {}).get("test"):
            table = random.integers(0, 3, (30, 30)) + np.diag(random.integers(5, 40, 30))
            record["metrics"]["test"]["confusion_matrix"] = table.tolist()
        return record

    return rewrite(path, change)


def strange_names(path: Path) -> Path:
    """Names with HTML, dollars, control characters, pipes; and very long ones."""
    make_folder(path, methods=["full", "lora", "qlora"])
    names = {"full": HTML_NAME, "lora": LONG_NAME, "dora": "naïve|pipe\x07\nline"}

    def change(record: Record) -> Record:
        record["method"] = names.get(record["method"], record["method"])
        record["backbone"] = "org/<i>model</i>"
        record["classes"] = ["<b>negative</b>", "$neutral$", "positive\x00 & more"]
        if record["reason"]:
            record["reason"] += " <img src=x onerror=alert(1)> | [link](http://example.org)"
        record["notes"] = ["</td></table><h1>note</h1>"]
        return record

    (path / "study.yaml").write_text("name: </code></pre><script>alert(2)</script> ```\n")
    return rewrite(path, change, headline=f"Use {HTML_NAME} | now.", warnings=["<u>beware</u>"])


def null_costs(path: Path) -> Path:
    """Nothing was measured but the scores, and what is optional is missing or null."""
    make_folder(path, methods=["full", "lora"])

    def change(record: Record) -> Record:
        record["cost"] = dict.fromkeys(record.get("cost", {}))
        for key in ("history", "cohort", "data", "versions", "classes", "notes", "retries"):
            record[key] = None
        for key in ("best_step", "steps", "micro_batch_size", "started_at"):
            record.pop(key, None)
        return record

    return rewrite(path, change, noise_floor=None, n_test=None, headline=None)


def lower_is_better(path: Path) -> Path:
    """Compared by perplexity; a probe and a run that diverged to an enormous loss."""
    make_folder(path, methods=["full", "lora"])

    def change(record: Record) -> Record:
        record["primary_metric"] = "perplexity"
        for scores in (record.get("metrics") or {}).values():
            if "accuracy" in scores:
                scores["perplexity"] = 40.0 - 30 * scores["accuracy"]
        for entry in record.get("history") or []:
            entry["validation"]["perplexity"] = 30.0 + 100 / entry["step"]
        if record["status"] == "diverged":
            record["history"] = [
                {"step": 10, "train_loss": 0.7, "validation": None},
                {"step": 20, "train_loss": 1e9, "validation": {"perplexity": None}},
            ]
        if record["kind"] == "probe" and record["learning_rate"] > 1e-4:
            record |= {"status": "diverged", "metrics": {}, "reason": "loss was NaN"}
        return record

    return rewrite(path, change, metric="perplexity", higher_is_better=False)


ALL = {
    make.__name__: make
    for make in (
        whole,
        nothing_yet,
        part_finished,
        all_failed,
        one_method,
        one_seed,
        several_contests,
        many_classes,
        strange_names,
        null_costs,
        lower_is_better,
    )
}
