"""The jobs that need torch before and after training, done in a worker for the parent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneoff.planning.plan import Plan, make_plan
from tuneoff.running.worker import Say
from tuneoff.study import Study


def plan(study: Study, settings: dict[str, Any], say: Say) -> Plan:  # noqa: ARG001 - a short job
    """`make_plan`; `settings` are its keyword arguments."""
    return make_plan(study, **settings)


def export(folder: Path, say: Say) -> None:  # noqa: ARG001 - the parent needs no signs of it
    """Saves and checks the winner."""
    from tuneoff.winner.export import export_winner

    export_winner(folder)
