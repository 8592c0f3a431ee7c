"""The report of a study: one HTML page, Markdown, CSV and plots, from the study's folder alone.

    write_report(Path("runs/quickstart"))

Nothing here imports torch, so a report can be made anywhere.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_report"]


def write_report(out: Path) -> list[Path]:
    """Writes `report.html`, `report.md`, `results.csv` and `plots/`; returns their paths.

    A study that holds published figures gets `published.csv` too.

    Each file is written whole or not at all. Raises LedgerError when the folder holds no verdict,
    or a file of it is damaged.
    """
    from tuneoff.report.contents import read_contents
    from tuneoff.report.page import page, text
    from tuneoff.report.plots import draw_over_contests, draw_pictures
    from tuneoff.report.published import beside, published_table
    from tuneoff.report.run_table import run_table
    from tuneoff.whole_file import write_whole

    contents = read_contents(Path(out))
    pictures = draw_pictures(contents)
    published = beside(contents)
    overall = draw_over_contests(contents, published)
    written = []
    for picture in (picture for drawn in [overall, *pictures] for picture in drawn):
        for ending, content in (("png", picture.png), ("svg", picture.svg)):
            place = contents.folder / "plots" / f"{picture.stem}.{ending}"
            written.append(write_whole(place, content))
    written.append(write_whole(contents.folder / "results.csv", run_table(contents)))
    if published:
        table = published_table(published)
        written.append(write_whole(contents.folder / "published.csv", table))
    drawn_of = (contents, pictures, published, overall)
    written.append(write_whole(contents.folder / "report.md", text(*drawn_of)))
    written.append(write_whole(contents.folder / "report.html", page(*drawn_of)))
    return written
