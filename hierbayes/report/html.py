"""The page: Jinja templates, with figures and formulas set into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hierbayes.plots import to_svg
from hierbayes.plots.style import SHADES

from .numbers import split

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(context: Mapping[str, Any]) -> str:
    """Fill the template of the report.

    Parameters
    ----------
    context : mapping
        What the templates name; a missing name is an error.

    Returns
    -------
    str
        One HTML document that needs nothing from outside.
    """
    environment = Environment(
        loader=PackageLoader("hierbayes", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["split"] = split
    environment.filters["fraction"] = fraction
    environment.filters["markup"] = Markup
    return environment.get_template("report.html").render(context)


def fraction(rows: Sequence[Sequence[str]], column: int) -> int:
    """Length of the longest part after a decimal point in one column of written numbers.

    Parameters
    ----------
    rows : sequence of sequences of str
    column : int

    Returns
    -------
    int
        With the point.

    Examples
    --------
    >>> fraction([["a", "1.25"], ["b", "10.5"], ["c", "3"]], 1)
    3
    """
    return max((len(split(row[column])[1]) for row in rows), default=0)


def drawing(figure: Figure, key: str, label: str) -> Markup:
    """Make a figure part of the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    key : str
        Prefix of its ids, unique in the page.
    label : str
        What the figure shows, for those who cannot see it.

    Returns
    -------
    markupsafe.Markup
        An ``<svg>`` whose colours follow the page, so that it is legible on a dark background too.
    """
    text = to_svg(figure, key)
    for color, name in SHADES.items():
        text = text.replace(color, f"var(--{name}, {color})")
    opening = Markup('<svg role="img" aria-label="{}" ').format(label)
    return opening + Markup(text.removeprefix("<svg "))
