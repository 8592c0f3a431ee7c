import sys
import threading
from pathlib import Path

import pytest

from tuneoff.data.cache import cache_folder, cached
from tuneoff.errors import DataError


def fill(text):
    return lambda folder: (folder / "it").write_text(text)


def test_an_entry_is_made_once(cache):
    assert (cached("kind", "key", fill("first")) / "it").read_text() == "first"
    assert (cached("kind", "key", fill("second")) / "it").read_text() == "first"
    assert (cached("kind", "other", fill("second")) / "it").read_text() == "second"


def test_what_fails_leaves_nothing(cache):
    def fails(folder):
        (folder / "it").write_text("half")
        raise DataError("bad row")

    with pytest.raises(DataError, match="bad row"):
        cached("kind", "key", fails)
    assert list((cache / "kind").iterdir()) == []


def test_two_makers_at_once_agree(cache):
    gate = threading.Barrier(2)

    def slow(text):
        def make(folder):
            gate.wait(10)
            (folder / "it").write_text(text)

        return make

    found = []
    threads = [
        threading.Thread(target=lambda text=text: found.append(cached("kind", "key", slow(text))))
        for text in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found[0] == found[1]
    assert (found[0] / "it").read_text() in ("one", "two")
    assert [path.name for path in (cache / "kind").iterdir()] == ["key"]


def test_a_cache_that_cannot_be_written_is_explained(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="TUNEOFF_CACHE"):
        cached("kind", "key", fill("x"))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, ".cache/tuneoff"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/tuneoff"),
        ("darwin", {}, "Library/Caches/tuneoff"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tuneoff/cache"),
        ("linux", {"TUNEOFF_CACHE": "/mine"}, "/mine"),
    ],
)
def test_places(monkeypatch, platform, variables, expected):
    for name in ("TUNEOFF_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == (Path(expected) if expected[0] == "/" else Path.home() / expected)
