"""The page of the benchmarks: each program replaces what it made there, and nothing else.

text = with_rows(text, HEADER, lines)     # rows of a table, known by their first two cells
text = with_section(text, section)        # a section, known by its title
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NOT_MEASURED = "not measured"


def with_rows(text: str, header: str, lines: Sequence[str], about: str = "") -> str:
    """The page with these rows in the table that has this header.

    A row takes the place of the one with the same goal and work, else of one of its goal that is
    not measured; else it stands behind those of its goal. One that says that its goal is not
    measured comes in only where the goal has no row. A page without the table gets it at its end.
    about: how the rows were made, the line behind the table that begins in the same way up to its
    colon.
    """
    page = text.rstrip("\n").split("\n")
    if header not in page:
        cells = header.count("|") - 1
        page += ["", header, "| --- " * cells + "|"]
    start = page.index(header) + 2
    end = start
    while end < len(page) and page[end].startswith("|"):
        end += 1
    rows = page[start:end]
    for line in lines:
        _put(rows, line)
    behind = page[end:]
    if about:
        behind = ["", about, *_without(behind, about)]
    return "\n".join([*page[:start], *rows, *behind]) + "\n"


def with_section(text: str, section: str) -> str:
    """The page with a section, whose first line is its title, in the place of the one so called;
    at the end where there is none."""
    title = re.escape(section.splitlines()[0])
    before = re.search(rf"^{title}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if before is None:
        return text.rstrip() + "\n\n" + section
    behind = text[before.end() :]
    return text[: before.start()] + section.rstrip() + "\n" + ("\n" + behind if behind else "")


def _put(rows: list[str], line: str) -> None:
    goal, work = _cells(line)[:2]
    goals = [_cells(row)[0] for row in rows]
    if NOT_MEASURED in _cells(line) and goal in goals:
        return
    same = [place for place, row in enumerate(rows) if _cells(row)[:2] == [goal, work]]
    empty = [
        place
        for place, row in enumerate(rows)
        if goals[place] == goal and NOT_MEASURED in _cells(row)
    ]
    if same or empty:
        rows[(same or empty)[0]] = line
    elif goal in goals:
        rows.insert(len(goals) - goals[::-1].index(goal), line)
    else:
        rows.append(line)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _without(behind: list[str], about: str) -> list[str]:
    """What stands behind the table, less the paragraph that begins as `about` does."""
    start = about.partition(":")[0] + ":"
    if len(behind) > 1 and behind[1].startswith(start):
        return behind[2:]
    return behind
