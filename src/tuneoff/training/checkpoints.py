"""The state of a cohort under way, in one file that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from tuneoff.errors import LedgerError
from tuneoff.training.member import Member


def save(path: Path, members: Sequence[Member]) -> None:
    """Write all members' states; a kill leaves the file before or the file after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    state = {
        "members": [member.state() for member in members],
        "torch_random": torch.get_rng_state(),
    }
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def restore(path: Path, members: Sequence[Member]) -> None:
    """Put the states back.

    Raises LedgerError when the file holds other runs than these.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    held = [one["run_id"] for one in state["members"]]
    if held != [member.spec.run_id for member in members]:
        raise LedgerError(
            f"{path} holds the state of other runs ({', '.join(held)}); "
            "remove it to train these from the beginning"
        )
    for member, one in zip(members, state["members"], strict=True):
        member.restore(one)
    torch.set_rng_state(state["torch_random"])
