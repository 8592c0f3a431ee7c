"""Runs a tiny study without its report, for tests that kill it: python -m tests.running.run_tiny
STUDY.json FOLDER. Checkpoints are frequent, so that kills fall between and into them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tuneoff.running import study_run
from tuneoff.study import load_study


def main() -> None:
    study = load_study(json.loads(Path(sys.argv[1]).read_text()))
    study_run.StudyRun._conclude = lambda self: None  # type: ignore[method-assign]
    study_run.run_study(study, Path(sys.argv[2]), checkpoint_seconds=0.05)


if __name__ == "__main__":
    main()
