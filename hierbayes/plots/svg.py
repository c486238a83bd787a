"""Figures as SVG text that is the same at every run and can stand several times in one page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib as mpl

from .style import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def to_svg(figure: Figure, key: str) -> str:
    """Draw a figure as an ``<svg>`` element.

    Letters are drawn as outlines of the DejaVu fonts that come with matplotlib, so that the figure
    looks the same everywhere and needs no font.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    key : str
        A word that no other figure of the page has; every id of the drawing begins with it.

    Returns
    -------
    str
        One element, without XML declaration, document type or metadata.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> to_svg(figure, "a") == to_svg(figure, "a")
    True
    >>> to_svg(figure, "a")[:5]
    '<svg '
    """
    buffer = io.StringIO()
    with look(), mpl.rc_context({"svg.hashsalt": key, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<path (?![^>]*\bd=)", '<path d="" ', text)  # the letter without ink, a space
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    return text.replace("url(#", f"url(#{key}-")
