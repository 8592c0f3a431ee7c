"""A verdict of the right form by the plainest arithmetic, so that the report is tested alone."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from tuneoff.ledger import Ledger

COSTS = ("trainable_parameters", "peak_memory_bytes", "train_seconds", "adapter_bytes")
COSTS += ("inference_seconds_per_example", "inference_peak_memory_bytes")
USES = {
    "least_memory": "peak_memory_bytes",
    "fastest": "train_seconds",
    "smallest_to_store": "adapter_bytes",
}


def write_verdict(folder: Path, **changes: Any) -> Path:
    """Writes `verdict.json` for whatever the ledger holds; `changes` overwrite contest keys."""
    contests: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in Ledger(folder).records():
        contests[record["backbone"], record["task"]].append(record)
    judged = [{**_contest(*key, records), **changes} for key, records in contests.items()]
    verdict = {
        "study": "simulated",
        "version": 1,
        "generated_at": "2026-01-02T03:04:05+00:00",
        "contests": judged,
    }
    (folder / "verdict.json").write_text(json.dumps(verdict))
    return folder


def _contest(backbone: str, task: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    by_method: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_method[record["method"]].append(record)
    methods = [_method(name, runs) for name, runs in by_method.items()]
    scored = sorted((m for m in methods if m["mean"] is not None), key=lambda m: -m["mean"])
    best = scored[0] if scored else None
    full = next((m for m in scored if m["method"] == "full"), None)
    for method in scored:
        method["versus_best"] = _difference(method, best)
        method["versus_full"] = _difference(method, full) if full else None
        for key in ("peak_memory_bytes", "train_seconds"):
            mine = method["cost"][key]
            method["on_front"][key] = mine is not None and not any(
                other["mean"] > method["mean"] and (other["cost"][key] or 0) <= mine
                for other in scored
            )
    tied = [m["method"] for m in scored if m["versus_best"]["tied"]]
    floor = 0.012 if any(m["n"] > 1 for m in methods) else None
    return {
        "backbone": backbone,
        "task": task,
        "metric": "accuracy",
        "higher_is_better": True,
        "n_test": 600,
        "seeds": sorted({record["seed"] for record in records}),
        "confidence_level": 0.95,
        "headline": _headline(best, tied),
        "noise_floor": None
        if floor is None
        else {
            "value": floor,
            "unit": "accuracy",
            "definition": "The least difference that shows between two groups of runs alike.",
            "sentence": "Differences below 1.2 points mean nothing here.",
        },
        "methods": methods,
        "best": best["method"] if best else None,
        "tied_with_best": tied,
        "answers": _answers(best, scored),
        "warnings": [] if floor else ["Only one seed: the noise floor is unknown."],
    }


def _method(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    done = [run for run in runs if run["status"] == "done"]
    scores = [run["metrics"]["test"]["accuracy"] for run in done]
    mean = statistics.fmean(scores) if scores else None
    sd = statistics.stdev(scores) if len(scores) > 1 else None
    return {
        "method": name,
        "n": len(done),
        "n_failed": len(runs) - len(done),
        "failures": [
            {key: run[key] for key in ("run_id", "status", "reason")}
            for run in runs
            if run["status"] != "done"
        ],
        "mean": mean,
        "sd": sd,
        "interval": [mean - 0.02, mean + 0.02] if mean is not None and sd is not None else None,
        "per_seed": {str(run["seed"]): run["metrics"]["test"]["accuracy"] for run in done},
        "metrics": {
            metric: {"mean": statistics.fmean(run["metrics"]["test"][metric] for run in done)}
            | {"sd": None}
            for metric in ("macro_f1", "matthews", "loss")
            if done
        },
        "versus_best": None,
        "versus_full": None,
        "cost": {key: done[0]["cost"][key] if done else None for key in COSTS},
        "learning_rate": runs[0]["learning_rate"],
        "on_front": {},
    }


def _difference(method: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any] | None:
    if other is None:
        return None
    value = method["mean"] - other["mean"]
    tied = abs(value) < 0.012
    interval = [value - 0.012, value + 0.012]
    p = 0.4 if tied else 0.0004
    return {
        "difference": value,
        "interval": interval,
        "p": p / 2,
        "p_corrected": p,
        "tied": tied,
    }


def _headline(best: dict[str, Any] | None, tied: list[str]) -> str:
    if best is None:
        return "No answer yet: no run has finished."
    others = [name for name in tied if name != best["method"]]
    also = f"; {', '.join(others)} cannot be told apart from it" if others else ""
    return f"Use {best['method']}: {best['mean']:.1%} accuracy{also}."


def _answers(best: dict[str, Any] | None, scored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if best is None:
        return []
    answers = [("best_quality", best), ("best_balance", scored[len(scored) // 2])]
    for use, key in USES.items():
        measured = [m for m in scored if m["cost"][key] is not None]
        if measured:
            answers.append((use, min(measured, key=lambda m: m["cost"][key])))
    return [
        {
            "use": use,
            "method": method["method"],
            "sentence": f"Use {method['method']} for {use.replace('_', ' ')}.",
            "reason": "It leads on this cost among the methods within the noise floor.",
            "confidence": "high" if index % 2 else "moderate",
            "needs": None if index % 2 else "3 more seeds of full and lora, about 14 min",
        }
        for index, (use, method) in enumerate(answers)
    ]
