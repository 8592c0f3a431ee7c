"""A study written, run and read in Python: python examples/from_python.py runs/from-python"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tuneoff


def main(out: Path) -> None:
    study = tuneoff.Study(
        name="from-python",
        backbones=["mini-bert"],
        tasks=["synthetic"],
        methods=["last_layer", "bitfit", {"lora": {"rank": 4}}],
        seeds=3,
    )
    folder = tuneoff.run(study, out=out)
    (contest,) = json.loads((folder / "verdict.json").read_text("utf-8"))["contests"]
    print(contest["headline"])
    for method in contest["methods"]:
        low, high = method["interval"]
        print(f"{method['method']:12} {method['mean']:.3f}  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/from-python"))
