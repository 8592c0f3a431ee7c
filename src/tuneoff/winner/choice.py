"""Which run is handed over: the verdict's method, and of its seeds the best on validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger
from tuneoff.registry import nearest
from tuneoff.winner.tensors import best_run

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """One contest's run. contest: the verdict on it, {} when there is none yet; why: for people."""

    record: Record
    contest: Mapping[str, Any]
    why: str

    @property
    def slug(self) -> str:
        """`mini-bert-sst5`."""
        return f"{self.record['backbone']}-{self.record['task']}"


def choose(out: Path, method: str | None = None, run_id: str | None = None) -> list[Choice]:
    """One choice per contest, in the order of the verdict.

    Raises LedgerError when there is no verdict, method or run to choose.
    """
    records = Ledger(out).records("run")
    if not records:
        raise LedgerError(
            f"{out}: there are no results; run a study first: tuneoff run --out {out}"
        )
    contests = _verdict(out)
    if run_id is not None:
        return [_of_run(records, contests, run_id, out)]
    if not contests and method is None:
        raise LedgerError(
            f"{out / 'verdict.json'} is missing, so there is no winner yet; make it with "
            f"`tuneoff report {out}`, or name a method or a run"
        )
    keys = [(one["backbone"], one["task"]) for one in contests]
    keys = keys or list(dict.fromkeys((one["backbone"], one["task"]) for one in records))
    choices = []
    for backbone, task in keys:
        contest = _contest(contests, backbone, task)
        name, why = (method, "it was asked for by name") if method else headline(contest)
        rivals = [one for one in records if (one["backbone"], one["task"]) == (backbone, task)]
        if name is None:
            continue
        choices.append(_best_seed(rivals, name, contest, why))
    if not choices:
        raise LedgerError(f"{out}: no contest has a winner; see `tuneoff report {out}` for why")
    return choices


def headline(contest: Mapping[str, Any]) -> tuple[str | None, str]:
    """The method that the verdict tells people to use, and why."""
    for answer in contest.get("answers", ()):
        if answer["use"] == "best_balance" and answer.get("method"):
            return answer["method"], "the verdict's best balance of quality and cost"
    return contest.get("best"), "the verdict's best quality"


def _best_seed(
    rivals: Sequence[Record], method: str, contest: Mapping[str, Any], why: str
) -> Choice:
    judged = _judged(contest)
    current = set().union(*judged.values())
    if method in judged:
        mine = [record for record in rivals if record["run_id"] in judged[method]]
    else:
        mine = [record for record in rivals if record["method"] == method]
        mine = [one for one in mine if one["run_id"] in current] or mine
    if not mine:
        known = sorted({*judged, *(record["method"] for record in rivals)})
        raise LedgerError(
            f"method {method!r} has no runs{nearest(method, known)}. Methods: {', '.join(known)}"
        )
    best = best_run(mine)
    if best is None:
        reasons = "; ".join(f"seed {one['seed']}: {one['status']}" for one in mine)
        raise LedgerError(f"method {method!r} has no finished run ({reasons})")
    done = sum(record["status"] == "done" for record in mine)
    of = f"; of {done} seeds, the best on validation" if done > 1 else ""
    return Choice(best, contest, why + of)


def _judged(contest: Mapping[str, Any]) -> dict[str, set[str]]:
    """Run ids by the verdict's names of methods: one setting each, and nothing stale."""
    rows = contest.get("methods", ())
    return {row["method"]: set(row["run_ids"]) for row in rows if row.get("run_ids")}


def _of_run(
    records: Sequence[Record], contests: Sequence[Mapping[str, Any]], run_id: str, out: Path
) -> Choice:
    for record in records:
        if record["run_id"] == run_id:
            if record["status"] != "done":
                raise LedgerError(
                    f"run {run_id} is {record['status']} ({record.get('reason')}); "
                    "only a finished run can be handed over"
                )
            contest = _contest(contests, record["backbone"], record["task"])
            return Choice(record, contest, "it was asked for by its id")
    close = nearest(run_id, [record["run_id"] for record in records])
    raise LedgerError(f"{out}: no run {run_id!r}{close}; ids stand in results.jsonl")


def _contest(contests: Sequence[Mapping[str, Any]], backbone: str, task: str) -> Mapping[str, Any]:
    found = [one for one in contests if (one["backbone"], one["task"]) == (backbone, task)]
    return found[0] if found else {}


def _verdict(out: Path) -> list[Mapping[str, Any]]:
    path = out / "verdict.json"
    try:
        found: list[Mapping[str, Any]] = json.loads(path.read_text("utf-8"))["contests"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, OSError) as error:
        raise LedgerError(
            f"{path}: cannot be read ({error}); make it again with `tuneoff report {out}`"
        ) from None
    return found
