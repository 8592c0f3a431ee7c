"""tuneoff: a fair contest between fine-tuning methods.

study = tuneoff.load_study("study.yaml")
folder = tuneoff.run(study, out="runs/mine")
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneoff.planning.plan import Plan
    from tuneoff.study import Study, load_study

__version__ = "0.1.0"

__all__ = ["Study", "__version__", "load_study", "plan", "run"]

_LAZY = {"Study": "tuneoff.study", "load_study": "tuneoff.study"}


def run(study: Study | str | Path, out: str | Path) -> Path:
    """Run a study (or a study file, or a recipe) to its verdict; returns the results folder.

    Started again with the same folder it goes on where it stopped.
    """
    from tuneoff.running.study_run import run_study

    return run_study(_as_study(study), Path(out))


def plan(study: Study | str | Path) -> Plan:
    """What a study will run, with predicted memory and time; nothing is trained."""
    from tuneoff.planning.plan import make_plan

    return make_plan(_as_study(study))


def _as_study(study: Study | str | Path) -> Study:
    from tuneoff.study import load_study

    return load_study(study) if isinstance(study, str | Path) else study


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tuneoff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
