"""Whole or not at all: torn lines, killed writers, locks, exact floats."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneoff.errors import LedgerError
from tuneoff.ledger import Ledger, encode, stale

COLUMNS = {
    "split": ["validation", "test", "test"],
    "row": [0, 0, 1],
    "label": [0, 1, 1],
    "prediction": [0, 1, 0],
    "loss": [0.1, 0.2, math.inf],
    "probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32),
}


def done(run_id="aa", **more):
    return {"run_id": run_id, "status": "done", "reason": None, "metrics": {"test": {}}, **more}


def test_a_run_comes_back_as_it_was(tmp_path):
    with Ledger(tmp_path / "out") as ledger:
        ledger.append(done(settings={"text": "line\u2028feed\né", "rate": 0.1 + 0.2}), COLUMNS)
    reader = Ledger(tmp_path / "out")
    record = reader.record("aa")
    assert record["settings"] == {"text": "line\u2028feed\né", "rate": 0.1 + 0.2}
    columns = reader.predictions("aa")
    assert columns["split"].tolist() == COLUMNS["split"]
    assert columns["loss"].tolist() == COLUMNS["loss"]
    assert columns["label"].dtype == np.int64
    assert np.array_equal(columns["probabilities"], COLUMNS["probabilities"])
    test = reader.predictions("aa", "test")
    assert test["row"].tolist() == [0, 1]
    assert test["probabilities"].shape == (2, 2)


def test_predictions_may_lack_probabilities(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done(), {**COLUMNS, "probabilities": None})
    assert sorted(Ledger(tmp_path).predictions("aa")) == sorted(COLUMNS.keys() - {"probabilities"})


@given(st.floats(allow_nan=True, allow_infinity=True))
@settings(max_examples=200, deadline=None)
def test_floats_are_exact_and_what_json_lacks_is_null_with_its_reason(number):
    line = encode({"metrics": {"test": [{"loss": np.float64(number)}]}})
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"invalid JSON: {name}"))
    found = record["metrics"]["test"][0]["loss"]
    if math.isfinite(number):
        assert np.float64(found).tobytes() == np.float64(number).tobytes()
        assert "not_finite" not in record
    else:
        assert found is None
        assert record["not_finite"] == {"metrics.test[0].loss": repr(number)}


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_left_out_then_cut_off_and_said(tmp_path, cut):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
        ledger.append(done("bb"), COLUMNS)
    path = tmp_path / "results.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + cut])

    reader = Ledger(tmp_path)
    assert reader.finished_ids() == {"aa"}
    assert "torn" in reader.notices[0]
    assert len(path.read_bytes()) == first + cut  # a reader changes nothing

    with Ledger(tmp_path) as ledger:
        assert path.read_bytes() == whole[:first]
        assert "cut off" in ledger.notices[0]
        ledger.append(done("cc"), COLUMNS)
    assert [record["run_id"] for record in Ledger(tmp_path).records()] == ["aa", "cc"]


def test_a_whole_last_line_without_line_feed_is_kept(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    with Ledger(tmp_path) as ledger:
        ledger.append(done("bb"), COLUMNS)
    assert Ledger(tmp_path).finished_ids() == {"aa", "bb"}


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"{nonsense\n" + path.read_bytes())
    with pytest.raises(LedgerError, match=r"results\.jsonl:1: not a line of JSON"):
        Ledger(tmp_path).records()


def test_another_format_is_an_error(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(LedgerError, match="format 99"):
        Ledger(tmp_path).records()


def test_of_a_run_that_stands_twice_the_last_counts(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa", seed=1), COLUMNS)
        ledger.append({"run_id": "bb", "status": "failed", "reason": "x"})
        ledger.append(done("aa", seed=2), COLUMNS)
        ledger.append(done("bb", seed=3), COLUMNS)
    records = Ledger(tmp_path).records()
    assert [(record["run_id"], record["seed"]) for record in records] == [("aa", 2), ("bb", 3)]


def test_a_run_whose_predictions_are_gone_is_not_finished(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
        ledger.append({"run_id": "bb", "status": "diverged", "reason": "NaN"})
    (tmp_path / "predictions" / "aa.parquet").unlink()
    assert Ledger(tmp_path).finished_ids() == {"bb"}
    assert Ledger(tmp_path).finished_ids(["done"]) == set()
    with pytest.raises(LedgerError, match="missing"):
        Ledger(tmp_path).predictions("aa")


def test_damaged_predictions_are_an_error(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
    (tmp_path / "predictions" / "aa.parquet").write_bytes(b"PAR1")
    with pytest.raises(LedgerError, match="cannot be read as Parquet"):
        Ledger(tmp_path).predictions("aa")


@pytest.mark.parametrize(
    ("record", "columns", "message"),
    [
        ({"status": "done"}, COLUMNS, "run_id"),
        (done("../x"), COLUMNS, "allowed are letters"),
        (done(status="fine"), COLUMNS, "status is one of"),
        (done(), None, "comes with its predictions"),
        (done(status="failed"), None, "needs a reason"),
        (done(), {**COLUMNS, "label": [1]}, "unequal lengths"),
        (done(), {"split": []}, "lack the column row"),
        (done(odd=object()), COLUMNS, "JSON cannot"),
    ],
)
def test_what_is_not_whole_is_refused_and_leaves_no_line(tmp_path, record, columns, message):
    with Ledger(tmp_path) as ledger, pytest.raises(LedgerError, match=message):
        ledger.append(record, columns)
    assert Ledger(tmp_path).records() == []


def test_probes_and_profiles_are_apart(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append_probe({"run_id": "p", "learning_rate": 1e-3})
        ledger.append_profile({"method": "lora", "cost": {}})
        ledger.append_profile({"method": "full", "cost": {}})
    reader = Ledger(tmp_path)
    assert [probe["learning_rate"] for probe in reader.probes()] == [1e-3]
    assert [profile["method"] for profile in reader.profiles()] == ["lora", "full"]
    assert reader.records() == []


def test_stale_records_are_those_not_wanted():
    records = [done("aa"), done("bb")]
    assert stale(records, ["bb", "cc"]) == [records[0]]


def test_a_second_writer_is_refused_by_name_and_readers_are_not(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.append(done("aa"), COLUMNS)
        with pytest.raises(LedgerError, match=f"process {os.getpid()} is writing"):
            Ledger(tmp_path).append(done("bb"), COLUMNS)
        assert Ledger(tmp_path).finished_ids() == {"aa"}
    with Ledger(tmp_path) as ledger:
        ledger.append(done("bb"), COLUMNS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    ledger = Ledger(tmp_path).lock()
    ready, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say, b"!")
        time.sleep(30)
        os._exit(0)
    try:
        os.read(ready, 1)
        ledger.close()
        Ledger(tmp_path).lock().close()
    finally:
        os.close(ready)
        os.close(say)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_kill_9_at_any_time_leaves_whole_runs(tmp_path):
    """A real process writes until it is killed; every line that is there has its predictions."""
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from tuneoff.ledger import Ledger
        columns = dict(split=["test"] * 50, row=np.arange(50), label=np.zeros(50, int),
                       prediction=np.zeros(50, int), loss=np.zeros(50))
        with Ledger(sys.argv[1]) as ledger:
            start = len(ledger.records())
            for number in range(start, 100000):
                ledger.append(dict(run_id=f"r{number}", status="done", filler="x" * 5000), columns)
                if number == start:
                    print("ready", flush=True)
        """
    )
    random = np.random.default_rng(0)
    count = 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(float(random.uniform(0.05, 0.3)))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        with Ledger(tmp_path) as ledger:
            records = ledger.records()
            assert [record["run_id"] for record in records] == [
                f"r{i}" for i in range(len(records))
            ]
            assert len(records) >= count
            count = len(records)
            assert ledger.finished_ids() == {record["run_id"] for record in records}
            assert len(ledger.predictions(records[-1]["run_id"])["row"]) == 50
            assert not list((tmp_path / "predictions").glob("*.tmp"))
    assert count > 4
