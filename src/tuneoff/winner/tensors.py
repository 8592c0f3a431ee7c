"""The trained tensors of runs, kept so that any of them can be handed over later.

    DIR/tensors/<run_id>.safetensors      "<site>::<parameter>" -> tensor

A small file (an adapter, a head) stays for every run. Of large ones (a whole model) only the best
seed of each method stays, by its validation score, so that the disk holds one model per method.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneoff import registry
from tuneoff.errors import LedgerError
from tuneoff.whole_file import whole

if TYPE_CHECKING:
    from torch import Tensor

LARGE_BYTES = 32_000_000
"""Files from this size on stay for the best seed alone: the three adapters of a usual study fit
below it many times, a whole model of 8 million parameters does not."""


def tensors_path(folder: Path, run_id: str) -> Path:
    """Where a run's tensors lie."""
    return folder / "tensors" / f"{run_id}.safetensors"


def save_tensors(folder: Path, run_id: str, tensors: Mapping[str, Tensor]) -> int:
    """Writes a run's tensors whole or not at all; tied ones once. Returns the file's bytes."""
    return write_tensors(tensors_path(folder, run_id), tensors)


def load_tensors(folder: Path, run_id: str) -> dict[str, Tensor]:
    """A run's tensors by `<site>::<parameter>`, on the CPU.

    Raises LedgerError when they are missing or damaged.
    """
    path = tensors_path(folder, run_id)
    if not path.exists():
        raise LedgerError(
            f"{path}: the trained tensors of this run are not there. Small ones are kept for every "
            "run, large ones for the best seed of each method; choose that seed, or run the study "
            "again in another folder"
        )
    return read_tensors(path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> int:
    """One safetensors file, written beside its place and renamed. Returns its bytes."""
    from safetensors.torch import save_file

    first: dict[tuple[Any, ...], str] = {}
    aliases: dict[str, str] = {}
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and key in first:
            aliases[name] = first[key]
            continue
        first[key] = name
        # views of one buffer, as the optimizer keeps them, would each be written as the whole
        kept[name] = tensor.detach().cpu().clone().contiguous()
    with whole(path) as temporary:
        save_file(kept, temporary, metadata={"format": "pt", "aliases": json.dumps(aliases)})
        temporary.chmod(0o644)  # safetensors makes files that nobody else may read
    return path.stat().st_size


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What `write_tensors` wrote. Raises LedgerError when the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    except (OSError, SafetensorError) as error:
        raise LedgerError(f"{path}: cannot be read as safetensors ({error})") from None
    return tensors | {alias: tensors[name] for alias, name in aliases.items()}


def best_run(records: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The finished run with the best validation score; None when no run finished.

    The test split has no say. Equal scores: the lower validation loss, then the lower seed.
    """
    done = [record for record in records if record["status"] == "done"]
    return min(done, key=_rank) if done else None


def surplus(records: Iterable[Mapping[str, Any]], sizes: Mapping[str, int]) -> list[str]:
    """Run ids whose tensors may go. sizes: bytes of the tensors that are stored, by run id.

    Large files of a method, under the same settings, data and code, that are not its best seed's,
    as the records stand; files of runs without a record stay, since their line may be about to be
    written.
    """
    by_contest: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["status"] == "done" and sizes.get(record["run_id"], 0) >= LARGE_BYTES:
            by_contest.setdefault(_all_but_seed(record), []).append(record)
    unwanted = []
    for rivals in by_contest.values():
        best = best_run(rivals)
        unwanted += [one["run_id"] for one in rivals if best and one["run_id"] != best["run_id"]]
    return unwanted


def prune(folder: Path, records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Removes what `surplus` names; called after a run's line is written. Returns the run ids."""
    files = (folder / "tensors").glob("*.safetensors")
    unwanted = surplus(records, {path.stem: path.stat().st_size for path in files})
    for run_id in unwanted:
        tensors_path(folder, run_id).unlink(missing_ok=True)
    return unwanted


def _all_but_seed(record: Mapping[str, Any]) -> str:
    """What the seeds of one method have in common."""
    names = ("backbone", "task", "method", "settings", "code")
    common = {name: record.get(name) for name in names}
    common["data"] = (record.get("data") or {}).get("fingerprint")
    return json.dumps(common, sort_keys=True)


def _rank(record: Mapping[str, Any]) -> tuple[float, float, int]:
    """Lower is better."""
    scores = record["metrics"].get("validation") or {}
    name = record["primary_metric"]
    name = name if name in scores else "loss"  # texts are generated for the test split alone
    score = scores.get(name)
    higher = registry.get("metrics", name).higher_is_better
    rank = math.inf if score is None else -score if higher else score
    loss = scores.get("loss")
    return (rank, math.inf if loss is None else loss, int(record["seed"]))
