"""The state of a cohort under way, in one file that is whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tuneoff.errors import LedgerError
from tuneoff.training.member import Member
from tuneoff.training.outcome import Stage
from tuneoff.whole_file import whole


def save(path: Path, members: Sequence[Member]) -> None:
    """Write all members' states; a kill leaves the file before or the file after."""
    state = {
        "members": [member.state() for member in members],
        "torch_random": torch.get_rng_state(),
    }
    with whole(path) as temporary:
        torch.save(state, temporary)


def restore(path: Path, members: Sequence[Member]) -> None:
    """Put the states back.

    Raises LedgerError when the file holds other runs than these.
    """
    _put_back(path, torch.load(path, map_location="cpu", weights_only=True), members)


def _put_back(path: Path, state: dict[str, Any], members: Sequence[Member]) -> None:
    held = [one["run_id"] for one in state["members"]]
    if held != [member.spec.run_id for member in members]:
        raise LedgerError(
            f"{path} holds the state of other runs ({', '.join(held)}); "
            "remove it to train these from the beginning"
        )
    for member, one in zip(members, state["members"], strict=True):
        member.restore(one)
    torch.set_rng_state(state["torch_random"])


def save_each(stage: Stage, members: Sequence[Member]) -> None:
    """Write the state of every member that stopped at the rung into its file."""
    for path, member in zip(stage.states, members, strict=bool(stage.states)):
        if member.status == "stopped":
            save(path, [member])


def restore_each(stage: Stage, members: Sequence[Member]) -> None:
    """Put back the states of the members that have a file, unless it is from beyond the rung."""
    for path, member in zip(stage.states, members, strict=bool(stage.states)):
        if not path.exists():
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        if stage.until is None or state["members"][0]["step"] <= stage.until:
            _put_back(path, state, [member])
