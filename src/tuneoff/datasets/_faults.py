"""Rows that a reader could not read: counted, shown, and refused or left out."""

from __future__ import annotations

from pathlib import Path

from tuneoff.errors import DataError

_SHOWN = 5


class Faults:
    """The bad rows of one source."""

    def __init__(self, drop: bool) -> None:
        self.drop = drop
        self.count = 0
        self._shown: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Notes one bad row."""
        self.count += 1
        if len(self._shown) < _SHOWN:
            self._shown.append(f"{where}: {message}")

    def settle(self) -> None:
        """Raises DataError when there are bad rows and they are not to be dropped."""
        if self.count and not self.drop:
            raise bad_rows(self.count, self._shown)


def bad_rows(count: int, shown: list[str]) -> DataError:
    """The refusal of bad rows, with the first of them and the remedy."""
    lines = [f"{count} bad row{'s' if count != 1 else ''}:"]
    lines += [f"  - {one}" for one in shown[:_SHOWN]]
    if count > _SHOWN:
        lines.append(f"  - and {count - _SHOWN} more")
    lines.append("Mend them, or set `on_bad_rows: drop` to leave them out (they are counted)")
    return DataError("\n".join(lines))


def where(path: Path, line: int, last: int | None = None) -> str:
    """`reviews.csv line 3`, or `lines 3 to 5`."""
    return f"{path} line {line}" if last in (None, line) else f"{path} lines {line} to {last}"
