"""What runs in a fresh process: load a saved model from its files alone, and score rows.

    python -m tuneoff.winner.fresh job.json

The job names the folder, Parquet files of rows, and what to compute; the answers go to Parquet
files, one for each look and split, and a JSON file of facts. The process shares nothing with the
one that trained or exported but these files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneoff.backbones.names import CLASSIFIERS
from tuneoff.metrics import Predicted
from tuneoff.settings import Settings

if TYPE_CHECKING:
    from tuneoff.backbones.backbone import Backbone
    from tuneoff.training.features import Features
    from tuneoff.winner.answering import Answerer
    from tuneoff.winner.manifest import Manifest


class Job(Settings):
    """What to compute.

    folder: of the saved model; rows: split -> Parquet of the task's columns; cut: splits of which
    that is the first part alone; tensors: the run's own, to compare the saved head with; answers:
    a new folder for answers; library_rows, bare_rows, written_rows, library_written: how many of
    the first rows the slower looks take; requantized: also score the merged model in this
    quantization.
    """

    folder: Path
    rows: dict[str, Path]
    cut: tuple[str, ...]
    tensors: Path
    answers: Path
    device: str
    batch_size: int
    library_rows: int
    bare_rows: int
    written_rows: int
    library_written: int
    merged: bool
    requantized: str | None


Looks = dict[str, Predicted]
"""Answers by `<look>.<split>`, and `<look>.written` of the first rows, answered in text."""


def work(job: Job) -> tuple[Looks, dict[str, Any]]:
    """The answers by look and split, and facts; see `Job`."""
    import torch
    import transformers

    from tuneoff.winner.loaded import load_winner

    loaded = load_winner(job.folder, job.device)
    data = {split: _features(loaded, split, path) for split, path in job.rows.items()}
    looks = _looks("reloaded", loaded.answerer, data, job)
    facts: dict[str, Any] = {
        "process": os.getpid(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "head": _head(loaded, job.tensors),
    }
    first = {next(iter(data)): next(iter(data.values()))}
    if loaded.manifest.form != "model":
        some = {split: first_rows(one, job.bare_rows) for split, one in first.items()}
        looks |= _looks("bare", _bare(loaded), some, job, written=False)
    if loaded.manifest.form != "hooks":
        looks |= _library(loaded, job, first)
    del loaded
    if job.merged:
        merged = load_winner(job.folder / "merged", job.device)
        looks |= _looks("merged", merged.answerer, data, job)
        del merged
    if job.requantized:
        looks |= _looks("requantized", _requantized(job), data, job)
    return looks, facts


def _features(loaded: Any, split: str, path: Path) -> Features:
    """The examples of a split's rows, as in training."""
    import pyarrow.parquet as pq

    from tuneoff.data.token_store import in_memory
    from tuneoff.datasets.arrow_rows import ArrowRows

    rows = ArrowRows(pq.read_table(path), origin=[(split, 0)])
    facts = loaded.facts(split) | {"on_bad_rows": "drop"}  # which of them are bad was settled
    task, form = loaded.task, loaded.task.form_for(facts["head"])
    return in_memory(task.examples(rows, facts, loaded.tokenizer), form)


def first_rows(features: Features, count: int) -> Features:
    """The examples of the first rows; a question has several, one for each window."""
    if features.form != "span" or features.extras is None:
        return features.take(np.arange(min(count, len(features))))
    rows = features.extras["row"].to_numpy()
    chosen = np.unique(rows)[:count]
    return features.take(np.flatnonzero(np.isin(rows, chosen)))


def _looks(
    name: str, answerer: Answerer, data: Mapping[str, Features], job: Job, written: bool = True
) -> Looks:
    """An answerer's answers to every split, and its texts for the first rows of one."""
    looks = {}
    for split, features in data.items():
        found = answerer.answers(features, batch_size=job.batch_size)
        # of blocks from texts end to end the last one would go on with the next text
        looks[f"{name}.{split}"] = found.take(np.arange(len(found) - (split in job.cut)))
    if written and answerer.writes and "test" in data:
        some = first_rows(data["test"], job.written_rows)
        looks[f"{name}.written"] = answerer.answers(some, in_text=True, batch_size=job.batch_size)
    return looks


def _head(loaded: Any, tensors: Path) -> dict[str, Any]:
    """Whether the new head's tensors are those of the run, and which sites it has."""
    import torch

    from tuneoff.winner.tensors import read_tensors

    trained = read_tensors(tensors)
    backbone, hooks = loaded.scorer.backbone, loaded.scorer.hooks
    speaks = backbone.head in ("causal_lm", "seq2seq_lm")
    if loaded.scorer.whole is not None:
        found = dict(loaded.scorer.whole.named_parameters())
        prefix = f"{loaded.scorer.whole.NAME}::"
        equal = all(
            torch.equal(found[name.removeprefix(prefix)].detach().cpu(), value)
            for name, value in trained.items()
        )
        return {"sites": sorted(site.name for site in backbone.head_sites), "saved": equal}
    heads = {site.name: site for site in backbone.head_sites}
    equal = True
    for name, site in heads.items():
        owner = hooks.get(name, site.module)
        for part, value in owner.named_parameters(recurse=False):
            expected = trained.get(f"{name}::{part}")
            equal = equal and expected is not None and torch.equal(value.cpu(), expected)
    return {"sites": sorted(heads), "saved": equal and (bool(heads) or speaks)}


def _bare(loaded: Any) -> Answerer:
    """With the trained head, but without the method's hooks."""
    whole = loaded.scorer.whole is not None  # PEFT changed a copy, the head in it too
    heads = set() if whole else {site.name for site in loaded.scorer.backbone.head_sites}
    kept = {name: hook for name, hook in loaded.scorer.hooks.items() if name in heads}
    answerer: Answerer = loaded.answering(kept)
    return answerer


def unambiguous(features: Features, pad_id: int | None) -> np.ndarray:
    """The rows without the padding token in their text: transformers takes it for padding there
    (positions in RoBERTa, the last token in GPT-2), and then reads another text than we do."""
    lengths = features.lengths
    padded = np.repeat(np.arange(len(lengths)), lengths)[features.tokens == pad_id]
    return np.setdiff1d(np.arange(len(lengths)), padded)


def _library(loaded: Any, job: Job, data: Mapping[str, Features]) -> Looks:
    """Through the loaders that people use: PEFT's, or transformers' own."""
    base, model = library_model(loaded.manifest, job.folder, loaded.scorer.backbone)
    ((split, features),) = data.items()
    if base.head not in CLASSIFIERS:
        from tuneoff.backbones.padded import Wrapped

        some = {split: first_rows(features, job.library_rows)}
        own = getattr(base.model, "generation_config", None)
        sampled = bool(getattr(own, "do_sample", False))
        other = loaded.answering({}, backbone=base, precision="fp32", family=Wrapped(base, model))
        fewer = job.model_copy(update={"written_rows": job.library_written})
        return _looks("library", other, some, fewer, written=not sampled)
    places = unambiguous(features, base.config.pad_token_id)[: job.library_rows]
    spans = [(features.offsets[row], features.offsets[row + 1]) for row in places]
    ids = [features.tokens[a:b].tolist() for a, b in spans]
    segments = features.token_type
    types = None if segments is None else [segments[a:b].tolist() for a, b in spans]
    shares = plain_probabilities(model, ids, types, job.batch_size, base.config.pad_token_id or 0)
    found = Predicted(
        losses=np.zeros(len(places)),
        predictions=shares.argmax(-1),
        classes=loaded.manifest.classes,
        probabilities=shares,
        rows=places,
    )
    return {f"library.{split}": found}


def library_model(manifest: Manifest, folder: Path, backbone: Backbone) -> tuple[Backbone, Any]:
    """A saved model as PEFT or transformers load it, and the plain model below it, as a backbone.

    backbone: what the winner stands on, as tuneoff loaded it.
    """
    from transformers import GenerationConfig

    from tuneoff.backbones.backbone import load, model_class
    from tuneoff.winner.generation_file import FILE

    plain = replace(backbone.options, implementation="transformers")
    if manifest.form == "model":
        model = model_class(plain, backbone.head).from_pretrained(folder).to(backbone.device)
        base = replace(backbone, options=plain, model=model)
    else:
        from peft import PeftModel

        # a head in float32 on a 16-bit backbone runs under autocast alone, which people do not set
        wide = replace(plain, dtype="float32")
        base = load(wide, backbone.head, manifest.classes or ("0", "1"), backbone.device)
        base.tokenizer = backbone.tokenizer
        model = PeftModel.from_pretrained(base.model, folder)
    if (folder / FILE).exists():
        base.model.generation_config = GenerationConfig.from_pretrained(folder)
    return base, model.eval()


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


def _requantized(job: Job) -> Answerer:
    """The merged model, its weights rounded again: what merging costs who wants 4 bits back."""
    from tuneoff.winner.loaded import load_winner

    made = load_winner(job.folder / "merged", job.device, quantization=job.requantized)
    return made.answerer


def main(path: str) -> None:
    """Does the job that a file describes."""
    from tuneoff.winner.answer_table import write_answers

    job = Job.model_validate_json(Path(path).read_text("utf-8"))
    looks, facts = work(job)
    job.answers.mkdir()
    for name, found in looks.items():
        write_answers(job.answers / f"{name}.parquet", found)
    (job.answers / "facts.json").write_text(json.dumps(facts), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
