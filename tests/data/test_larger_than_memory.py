"""Memory that cannot be given back stays far below the size of the data, from file to features.

Measured is anonymous memory (RssAnon): pages of a mapped file count to a process's resident size
too, but the system takes them back whenever it needs them.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]
SMALL, LARGE = 20, 80  # megabytes of text

MEASURED = """
import sys, threading, time
from pathlib import Path

def anonymous():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024

def peak(work):
    highest, done = [0.0], threading.Event()
    def watch():
        while not done.wait(0.02):
            highest[0] = max(highest[0], anonymous())
    thread = threading.Thread(target=watch)
    thread.start()
    before = anonymous()
    result = work()
    done.set()
    thread.join()
    return highest[0] - before, result
"""

OURS = """
import pyarrow.compute, transformers, tokenizers
from tests.data.tokenizers import tokenizer
from tuneoff.data.encoded import prepare
from tuneoff.datasets.csv import Csv
from tuneoff.study import Limit, Split
from tuneoff.tasks.text_classification import TextClassification
made_by = tokenizer("encoder")
made_by(["warm", "up"] * 5000)
data = Csv(train=sys.argv[1])
used, prepared = peak(lambda: prepare(TextClassification(), data, made_by, limit=Limit(test=100)))
print(sum(map(len, prepared.features.values())), used)
"""

PANDAS = """
import pandas
used, frame = peak(lambda: pandas.read_csv(sys.argv[1]))
print(len(frame), used)
"""


def measured(code, path, cache):
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURED + code), str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={
            "TUNEOFF_CACHE": str(cache),
            "PATH": "/usr/bin:/bin",
            "TOKENIZERS_PARALLELISM": "false",
        },
        cwd=Path(__file__).resolve().parents[2],
    )
    rows, used = run.stdout.split()
    return int(rows), float(used)


def big(path, megabytes):
    """A CSV file of texts of about a thousand words; its number of rows."""
    line = "the film was good and not very bad, it was " * 90
    rows = 0
    with path.open("w") as file:
        file.write("text,label\n")
        while file.tell() < megabytes << 20:
            file.write(f'"{rows} {line}",{rows % 2}\n')
            rows += 1
    return rows


def test_memory_does_not_grow_with_the_data(tmp_path):
    ours, whole = {}, {}
    for megabytes in (SMALL, LARGE):
        path = tmp_path / f"{megabytes}.csv"
        rows = big(path, megabytes)
        count, ours[megabytes] = measured(OURS, path, tmp_path / "cache")
        assert count == rows - round(rows / 10) + 100  # of test, 100 rows
        count, whole[megabytes] = measured(PANDAS, path, tmp_path / "cache")
        assert count == rows
    more = LARGE - SMALL
    assert whole[LARGE] - whole[SMALL] > 0.9 * more  # a whole frame does grow
    assert ours[LARGE] - ours[SMALL] < 0.25 * more
