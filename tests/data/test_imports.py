"""Reading data needs neither torch nor transformers; a report can then be made anywhere."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas")


def test_no_heavy_imports():
    code = (
        "import sys, tuneoff.data.encoded, tuneoff.datasets.hub, tuneoff.datasets.disk, "
        "tuneoff.datasets.csv, tuneoff.datasets.json, tuneoff.datasets.parquet, "
        "tuneoff.tasks.text_classification, tuneoff.tasks.language_modelling; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
