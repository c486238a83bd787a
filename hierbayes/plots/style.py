"""One look for all figures: colours safe for the colour-blind, shapes and dashes safe for black and white.

The colours are those of Okabe and Ito (2008), *Color universal design*. Each inference also has a marker and
a line style of its own, so that no figure depends on colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from matplotlib import style
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1f2328", "#d0d7de", "#fefefe"
"""Text and axes, grid lines, the inside of open markers."""
WIDTH = 7.4
"""Inches of a figure across the page."""

LOOK = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",  # for notebooks with a dark page; a saved figure has no ground of its own
    "figure.edgecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Mark:
    """How one estimator is drawn.

    Parameters
    ----------
    label : str
    color : str
    marker : str
    line : str or tuple
        Matplotlib's line style.
    filled : bool
    """

    label: str
    color: str
    marker: str
    line: Any
    filled: bool = True

    def points(self, size: float = 5.0) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot` that draw markers only."""
        return {
            "linestyle": "none",
            "marker": self.marker,
            "markersize": size,
            "markerfacecolor": self.color if self.filled else PAPER,
            "markeredgecolor": self.color,
            "markeredgewidth": 1.1,
        }


COMPLETE = Mark("complete pooling", INK, "x", (0, (1, 1.6)))
NO_POOLING = Mark("no pooling", "#767d86", "o", (0, (4.5, 2)), filled=False)
REML = Mark("REML", "#0072b2", "s", "-")
POSTERIOR = Mark("posterior", "#d55e00", "D", (0, (6, 1.5, 1.5, 1.5)))

SHADES = {
    INK: "ink",
    FAINT: "faint",
    PAPER: "paper",
    NO_POOLING.color: "none",
    REML.color: "reml",
    POSTERIOR.color: "post",
}
"""Names of the colours, by which a page can restyle a drawing for a dark background."""


@contextmanager
def look() -> Iterator[None]:
    """Draw with the settings of this file, whatever the user's own matplotlib settings are."""
    with style.context(["default", LOOK]):
        yield


def handles(*marks: Mark, line: bool = False) -> list[Line2D]:
    """Legend entries of some estimators, as markers or as lines."""
    made = []
    for mark in marks:
        shape = {"color": mark.color, "linestyle": mark.line, "linewidth": 1.6} if line else mark.points()
        made.append(Line2D([], [], label=mark.label, **shape))
    return made


def legend(figure: Figure, entries: list[Line2D]) -> None:
    """Put one legend above all panels."""
    figure.legend(handles=entries, loc="outside upper left", ncols=len(entries), handletextpad=0.4, columnspacing=1.6)


def tidy_axes(axes: Axes, grid: Literal["x", "y", "both"] = "x") -> None:
    """Light grid lines along one direction, short ticks."""
    axes.grid(visible=True, axis=grid)
    axes.tick_params(length=2.5)


def few_ticks(most: int, steps: tuple[int, ...] = (1, 2, 5, 10)) -> MaxNLocator:
    """At most so many intervals between ticks, at round numbers."""
    return MaxNLocator(most, steps=list(steps))


def shortened(name: str, most: int) -> str:
    """A long name without its middle: names of levels often differ at the end.

    Examples
    --------
    >>> shortened("County of Saint Louis, Minnesota 12", 20)
    'County of…nnesota 12'
    """
    if len(name) <= most:
        return name
    end = (most - 1) // 2 + (most - 1) % 2
    return f"{name[: most - 1 - end]}…{name[-end:]}"
