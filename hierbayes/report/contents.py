"""The page read back, so that the forms without markup say exactly what it says.

Whatever the page shows, Markdown and JSON have too, because they are made from it and not beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bs4 import BeautifulSoup, NavigableString, Tag

from .notation import above, below, linear

BLOCKS = ("h2", "h3", "h4", "h5", "p", "li", "pre", "table", "figure", "summary", "math")
"""Elements that are one piece of a section each."""


def read(page: str) -> BeautifulSoup:
    """Read a page, with formulas as text and without what only a browser needs.

    Parameters
    ----------
    page : str
        HTML from `hierbayes.report.html.render`.

    Returns
    -------
    bs4.BeautifulSoup
        A drawing is an ``<em>`` with its description; of a formula every line is a ``<p class="formula">``.
    """
    soup = BeautifulSoup(page, "html.parser")
    for element in soup.select("head, style, nav, .skip"):
        element.decompose()
    for drawing in soup.find_all("svg"):
        described = soup.new_tag("em")
        described.string = f"Figure: {drawing.get('aria-label', '')}"
        drawing.replace_with(described)
    for formula in soup.find_all("math"):
        lines = []
        for line in linear(formula):
            lines.append(soup.new_tag("p", attrs={"class": "formula"}))
            lines[-1].string = line
        formula.replace_with(*lines)
    for name, write in {"sub": below, "sup": above}.items():
        for small in soup.find_all(name):
            small.replace_with(write(small.get_text()))
    _lists(soup)
    _chips(soup)
    return soup


def _lists(soup: BeautifulSoup) -> None:
    """Lists of names and values become lists: the figures under the title with the value first."""
    for pairs in soup.find_all("dl"):
        items = []
        for name in pairs.find_all("dt"):
            value = name.find_next("dd")
            told = "" if value is None else words(value)
            items.append(soup.new_tag("li"))
            glance = "glance" in pairs.get_attribute_list("class")
            items[-1].string = f"{told} {words(name)}" if glance else f"{words(name)}: {told}"
        pairs.name = "ul"
        pairs.clear()
        pairs.extend(items)


def _chips(soup: BeautifulSoup) -> None:
    """A severity outside tables becomes the first word of its paragraph."""
    for chip in soup.select(".chip"):
        following = chip.find_next("p")
        if chip.find_parent("table") is None and following is not None:
            chip.name, chip.string = "strong", f"{words(chip).capitalize()}:"
            following.insert(0, chip.extract())
            chip.insert_after(" ")


@dataclass(frozen=True)
class Table:
    """A table without spans: one line of names, and rows of texts.

    Parameters
    ----------
    caption : str
    columns : list of str
        Of a head of two lines, both, as in ``"REML: Low"``.
    rows : list of lists of str
        A row that is one heading for those below has it in its first cell, the others empty.
    """

    caption: str
    columns: list[str]
    rows: list[list[str]]


def table_of(element: Tag) -> Table:
    """Read a table.

    Parameters
    ----------
    element : bs4.Tag

    Returns
    -------
    Table

    Examples
    --------
    >>> html = "<table><thead><tr><th rowspan=2>a</th><th colspan=2>b</th></tr><tr><th>c</th><th>d</th></tr></thead>"
    >>> html += "<tbody><tr><th>1</th><td>2</td><td>3</td></tr></tbody></table>"
    >>> table_of(BeautifulSoup(html, "html.parser").table)
    Table(caption='', columns=['a', 'b: c', 'b: d'], rows=[['1', '2', '3']])
    """
    caption = element.find("caption")
    head = _square(element.select("thead tr"))
    body = _square(element.select("tbody tr"), repeat=False)
    columns = (
        [""] * len(body[0])
        if body and not head
        else [": ".join(dict.fromkeys(text for text in column if text)) for column in zip(*head, strict=True)]
    )
    return Table("" if caption is None else words(caption), columns, body)


def _square(rows: Sequence[Tag], repeat: bool = True) -> list[list[str]]:
    """Texts of the cells of some rows; one that spans several stands in each of them, or in the first."""
    made: list[dict[int, str]] = [{} for _ in rows]
    for k, row in enumerate(rows):
        at = 0
        for cell in row.find_all(["th", "td"], recursive=False):
            while at in made[k]:
                at += 1
            wide, tall = (int(str(cell.get(name, "1"))) for name in ("colspan", "rowspan"))
            for down in range(min(tall, len(rows) - k)):
                for right in range(wide):
                    made[k + down][at + right] = words(cell) if repeat or not (down or right) else ""
            at += wide
    width = max((len(cells) for cells in made), default=0)
    return [[cells.get(column, "") for column in range(width)] for cells in made]


def words(element: Tag) -> str:
    """The text of an element, with single spaces."""
    return " ".join(element.get_text().split())


@dataclass(frozen=True)
class Section:
    """A section with its pieces in their order.

    Parameters
    ----------
    key : str
        Its anchor in the page.
    title : str
    blocks : list of dict
        Each has a ``kind``: heading (with ``level``), paragraph, item, equation, code, table (``caption``,
        ``columns``, ``rows``) or figure (``description``, ``caption``); those without further parts have a ``text``.
    """

    key: str
    title: str
    blocks: list[dict[str, Any]] = field(default_factory=list)


def sections_of(soup: BeautifulSoup) -> list[Section]:
    """What every section of a page says.

    Parameters
    ----------
    soup : bs4.BeautifulSoup
        From `read`.

    Returns
    -------
    list of Section
        The first is the head of the page, the last its foot.
    """
    made = []
    for name in ("header", "main", "footer"):
        part = soup.find(name)
        if not isinstance(part, Tag):
            continue
        pieces = part.find_all("section", recursive=False) or [part]
        for piece in pieces:
            heading = piece.find(["h1", "h2"])
            title = words(heading) if isinstance(heading, Tag) else ""
            key = str(heading.get("id") or name) if isinstance(heading, Tag) else name
            made.append(Section(key, title, _blocks(piece, heading)))
    return made


def _blocks(part: Tag, title: Tag | NavigableString | None) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for element in part.find_all(BLOCKS):
        inside = {parent.name for parent in element.parents if parent is not part}
        if element is title or inside & {"table", "figure"} or ("li" in inside and element.name == "p"):
            continue
        if element.name == "li" and element.find(["ul", "ol"]):
            continue
        made += _block(element)
    return made


def _block(element: Tag) -> list[dict[str, Any]]:
    name, text = element.name, words(element)
    if name == "table":
        table = table_of(element)
        return [{"kind": "table", "caption": table.caption, "columns": table.columns, "rows": table.rows}]
    if name == "figure":
        described, caption = element.find("em"), element.find("figcaption")
        return [
            {
                "kind": "figure",
                "description": words(described).removeprefix("Figure: ") if isinstance(described, Tag) else "",
                "caption": words(caption) if isinstance(caption, Tag) else "",
            }
        ]
    if name == "pre":
        return [{"kind": "code", "text": element.get_text()}]
    if not text:
        return []
    if name[0] == "h":
        return [{"kind": "heading", "level": int(name[1]), "text": text}]
    equation = name == "p" and "formula" in element.get_attribute_list("class") and element.find("code") is None
    kinds = {"li": "item", "summary": "paragraph", "p": "paragraph"}
    return [{"kind": "equation" if equation else kinds[name], "text": text}]
