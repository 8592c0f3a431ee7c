"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneoff.whole_file import whole, write_whole


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "deep" / "file.txt", "old: é")
    with whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text("utf-8") == "old: é"
        assert temporary.parent == path.parent  # a rename to another disk would be a copy
    assert path.read_text() == "new"

    def fail() -> None:
        with whole(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power is gone")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    assert path.read_text() == "new"
    assert [one.name for one in path.parent.iterdir()] == ["file.txt"]
