"""What runs in a fresh process: load a saved model from its files alone, and score rows.

    python -m tuneoff.winner.fresh job.json

The job names the folder, a Parquet file of texts, and what to compute; the answers go to an .npz
file of class probabilities, each (N, C), and a JSON file of facts. The process shares nothing with
the one that trained or exported but these files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.backbones.names import CLASSIFIERS
from tuneoff.settings import Settings

if TYPE_CHECKING:
    from tuneoff.training.features import Features


class Job(Settings):
    """folder: of the saved model; rows: Parquet of the task's text columns; tensors: the run's
    own tensors, to compare the saved head with; library_rows, bare_rows: how many of the first
    rows the slower looks take; requantized: also score the merged model in this quantization."""

    folder: Path
    rows: Path
    tensors: Path
    answers: Path
    device: str
    batch_size: int
    library_rows: int
    bare_rows: int
    merged: bool
    requantized: str | None


def work(job: Job) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The probabilities by name, and facts; see `Job`."""
    import pyarrow.parquet as pq
    import torch
    import transformers

    from tuneoff.winner.loaded import load_winner

    texts = pq.read_table(job.rows).to_pydict()
    loaded = load_winner(job.folder, job.device)
    features = loaded.features(texts)
    answers = {"reloaded": loaded.scorer.probabilities(features, job.batch_size)}
    facts: dict[str, Any] = {
        "process": os.getpid(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "head": _head(loaded, job.tensors),
    }
    if loaded.manifest.form != "model":
        answers["bare"] = _bare(loaded, _first(texts, job.bare_rows), job.batch_size)
    if loaded.manifest.form != "hooks":
        rows = unambiguous(features, loaded.scorer.backbone.config.pad_token_id)[: job.library_rows]
        answers["library_index"] = rows
        answers["library"] = _library(loaded, job.folder, features, rows, job.batch_size)
    del loaded
    if job.merged:
        merged = load_winner(job.folder / "merged", job.device)
        answers["merged"] = merged.probabilities(texts, job.batch_size)
    if job.requantized:
        answers["requantized"] = _requantized(job, features)
    return answers, facts


def _head(loaded: Any, tensors: Path) -> dict[str, Any]:
    """Whether the new head's tensors are those of the run, and which sites it has."""
    import torch

    from tuneoff.winner.tensors import read_tensors

    trained = read_tensors(tensors)
    backbone, hooks = loaded.scorer.backbone, loaded.scorer.hooks
    if loaded.scorer.whole is not None:
        found = dict(loaded.scorer.whole.named_parameters())
        prefix = f"{loaded.scorer.whole.NAME}::"
        equal = all(
            torch.equal(found[name.removeprefix(prefix)].detach().cpu(), value)
            for name, value in trained.items()
        )
        return {"sites": sorted(site.name for site in backbone.head_sites), "saved": equal}
    heads = {name: site for name, site in backbone.sites.items() if _is_head(site, backbone)}
    equal = True
    for name, site in heads.items():
        owner = hooks.get(name, site.module)
        for part, value in owner.named_parameters(recurse=False):
            expected = trained.get(f"{name}::{part}")
            equal = equal and expected is not None and torch.equal(value.cpu(), expected)
    return {"sites": sorted(heads), "saved": bool(heads) and equal}


def _is_head(site: Any, backbone: Any) -> bool:
    return bool(site.is_head) and backbone.head in CLASSIFIERS


def _bare(loaded: Any, texts: dict[str, list[str]], batch_size: int) -> np.ndarray:
    """With the trained head, but without the method's hooks."""
    from tuneoff.winner.scorer import Scorer

    whole = loaded.scorer.whole is not None  # PEFT changed a copy, the head in it too
    heads = set() if whole else {site.name for site in loaded.scorer.backbone.head_sites}
    kept = {name: hook for name, hook in loaded.scorer.hooks.items() if name in heads}
    scorer = Scorer(loaded.scorer.backbone, kept, loaded.manifest.precision)
    return scorer.probabilities(loaded.features(texts), batch_size)


def unambiguous(features: Features, pad_id: int | None) -> np.ndarray:
    """The rows without the padding token in their text: transformers takes it for padding there
    (positions in RoBERTa, the last token in GPT-2), and then reads another text than we do."""
    lengths = features.lengths
    padded = np.repeat(np.arange(len(lengths)), lengths)[features.tokens == pad_id]
    return np.setdiff1d(np.arange(len(lengths)), padded)


def _library(
    loaded: Any, folder: Path, features: Features, rows: np.ndarray, batch_size: int
) -> np.ndarray:
    """Through the loaders that people use: PEFT's, or transformers' own."""
    from tuneoff.backbones.backbone import load, model_class

    manifest, backbone = loaded.manifest, loaded.scorer.backbone
    if manifest.form == "model":
        plain = replace(backbone.options, implementation="transformers")
        model = model_class(plain, backbone.head).from_pretrained(folder)
        model.to(backbone.device)
    else:
        from peft import PeftModel

        # a head in float32 on a 16-bit backbone runs under autocast alone, which people do not set
        wide = replace(backbone.options, dtype="float32")
        base = load(wide, backbone.head, manifest.classes, backbone.device)
        model = PeftModel.from_pretrained(base.model, folder)
    model.eval()
    spans = [(features.offsets[row], features.offsets[row + 1]) for row in rows]
    ids = [features.tokens[a:b].tolist() for a, b in spans]
    segments = features.token_type
    types = None if segments is None else [segments[a:b].tolist() for a, b in spans]
    return plain_probabilities(model, ids, types, batch_size, backbone.config.pad_token_id or 0)


def plain_probabilities(
    model: Any,
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]] | None,
    batch_size: int,
    pad_id: int,
) -> np.ndarray:
    """(N, C) float64 from any Hugging Face classifier, on padded batches in the rows' order."""
    import torch

    from tuneoff.winner.scorer import softmax

    device = next(model.parameters()).device
    parts = []
    with torch.no_grad():
        for start in range(0, len(ids), batch_size):
            rows = ids[start : start + batch_size]
            longest = max(map(len, rows))
            inputs = {
                "input_ids": [[*row, *[pad_id] * (longest - len(row))] for row in rows],
                "attention_mask": [[1] * len(row) + [0] * (longest - len(row)) for row in rows],
            }
            if types is not None:
                segments = types[start : start + batch_size]
                inputs["token_type_ids"] = [[*s, *[0] * (longest - len(s))] for s in segments]
            tensors = {name: torch.tensor(value, device=device) for name, value in inputs.items()}
            logits = model(**tensors).logits
            parts.append(logits.double().cpu().numpy())
    return softmax(np.concatenate(parts)) if parts else np.empty((0, model.config.num_labels))


def _requantized(job: Job, features: Features) -> np.ndarray:
    """The merged model, its weights rounded again: what merging costs who wants 4 bits back."""
    from tuneoff.backbones.backbone import kind_of, load
    from tuneoff.winner.manifest import read_manifest
    from tuneoff.winner.scorer import Scorer

    manifest = read_manifest(job.folder)
    options = replace(manifest.backbone_options(str(job.folder / "merged")), revision=None)
    head = manifest.make_task().head_for(kind_of(options))
    backbone = load(options, head, manifest.classes, job.device)
    return Scorer(backbone, {}, manifest.precision).probabilities(features, job.batch_size)


def _first(texts: dict[str, list[str]], count: int) -> dict[str, list[str]]:
    return {name: values[:count] for name, values in texts.items()}


def main(path: str) -> None:
    """Does the job that a file describes."""
    job = Job.model_validate_json(Path(path).read_text("utf-8"))
    answers, facts = work(job)
    np.savez(job.answers.with_suffix(".npz"), **answers)  # type: ignore[arg-type]
    job.answers.with_suffix(".json").write_text(json.dumps(facts), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
