"""Reports that are written once, for all tests that only read them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.report import folders
from tuneoff.report import write_report

Reported = Callable[[str], Path]


@pytest.fixture(scope="package")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """The folder of that name in `folders.ALL`, with its report."""

    @cache
    def write(name: str) -> Path:
        folder = folders.ALL[name](tmp_path_factory.mktemp(name))
        write_report(folder)
        return folder

    return write


@pytest.fixture(scope="package")
def whole_report(reported: Reported) -> Path:
    return reported("whole")
