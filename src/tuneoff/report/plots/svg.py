"""A matplotlib figure as PNG, as SVG file, and as SVG for the page.

For the page the SVG gets text on hovering (`<title>` in each mark, which needs no script), ids
that are its own among all plots of the page, and colours that follow the page's light and dark.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from typing import NamedTuple

from tuneoff.report.plots.plot import Plot
from tuneoff.report.plots.style import GRID, INK, MUTED, PAPER, SERIES

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES)
}
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


class Picture(NamedTuple):
    """A plot as it is written. `inline` is an `<svg>` element for the page."""

    kind: str
    title: str
    alt: str
    note: str
    method: str | None
    stem: str
    png: bytes
    svg: bytes
    inline: str


def render(plot: Plot) -> Picture:
    """Draws a plot; to be called within `house_style`."""
    with warnings.catch_warnings():
        # A letter that the font lacks is a box in the PNG; the SVG holds the letter itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if engine := plot.figure.get_layout_engine():
            engine.execute(plot.figure)
            plot.figure.set_layout_engine("none")  # laid out once, for both files
        png = _saved(plot, "png")
        svg = _saved(plot, "svg")
    return Picture(
        plot.kind,
        plot.title,
        plot.alt,
        plot.note,
        plot.method,
        plot.stem,
        png,
        *_dressed(svg, plot),
    )


def _saved(plot: Plot, form: str) -> bytes:
    buffer = io.BytesIO()
    # No date and no version inside: the same results give the same bytes.
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    plot.figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


def _dressed(svg: bytes, plot: Plot) -> tuple[bytes, str]:
    """The SVG with its texts on hovering: as a file, and as an element of the page."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    background = root.find(".//*[@id='patch_1']")
    for element in root.iter():
        if tip := plot.tips.get(element.get("id", "")):
            element.set("class", "tip")
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = _printable(tip)
            element.insert(0, title)
        _tidy(element)
    _own_ids(root, plot.stem)
    root.set("role", "img")
    root.set("aria-label", _printable(plot.alt))
    file = b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="utf-8")
    return file, _for_page(root, background)


def _tidy(element: ET.Element) -> None:
    """Drops what no eye sees: blanks between elements, hundredths of a point."""
    if element.tag != f"{{{_SVG}}}text" and not (element.text or "").strip():
        element.text = None
    if not (element.tail or "").strip():
        element.tail = None
    for name in ("d", "x", "y", "transform", "points"):
        if value := element.get(name):
            short = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value)
            element.set(name, " ".join(short.split()))


def _own_ids(root: ET.Element, prefix: str) -> None:
    """Keeps only ids that something refers to, each with the plot's own prefix."""
    link = f"{{{_XLINK}}}href"
    wanted = {(element.get(link) or "#")[1:] for element in root.iter()}
    for element in root.iter():
        for value in element.attrib.values():
            wanted.update(_REFERENCE.findall(value))
    for element in root.iter():
        if (name := element.get("id")) is not None:
            if name in wanted:
                element.set("id", f"{prefix}.{name}")
            else:
                del element.attrib["id"]
        if (target := element.get(link, "")).startswith("#"):
            element.set(link, f"#{prefix}.{target[1:]}")
        for name, value in element.attrib.items():
            if "url(#" in value:
                element.set(name, _REFERENCE.sub(rf"url(#{prefix}.\1)", value))


def _for_page(root: ET.Element, background: ET.Element | None) -> str:
    """No background, no fixed size, and variables for colours."""
    for parent in root.iter():
        if background is not None and background in parent:
            parent.remove(background)
    width = root.get("width", "")
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("style", f"--width: {width}")
    for element in root.iter():
        if style := element.get("style"):
            for colour, variable in _VARIABLES.items():
                style = style.replace(colour, f"var({variable})")
            element.set("style", style)
    # HTML knows both namespaces by itself, and an address in the page would only look like a load.
    text = ET.tostring(root, encoding="unicode")
    text = text.replace(f' xmlns="{_SVG}"', "").replace(f' xmlns:xlink="{_XLINK}"', "")
    return text.replace("xlink:href=", "href=")


def _printable(text: str) -> str:
    """XML has no control characters, not even escaped ones."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
