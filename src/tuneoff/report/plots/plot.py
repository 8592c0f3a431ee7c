"""One plot: a figure, what it says in words, and the text that shows on hovering a mark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Plot:
    """`kind` names the file; `title` is for people, `alt` for those who cannot see the plot."""

    kind: str
    title: str
    alt: str
    figure: Figure
    note: str = ""
    """A sentence to print below the plot: how to read it, or what to be wary of."""
    method: str | None = None
    """The method, of a plot that shows one alone."""
    tips: dict[str, str] = field(default_factory=dict)
    """Text on hovering, by the id that the mark has in the SVG."""
    stem: str = ""
    """File name without its ending."""

    def tip(self, artist: Any, text: str) -> None:
        """Gives a mark (any matplotlib artist) its text on hovering."""
        name = f"tip{len(self.tips)}"
        artist.set_gid(name)
        self.tips[name] = text
