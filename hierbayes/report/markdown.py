"""The page as Markdown: headings, paragraphs, pipe tables with one line of names, code; a figure is its description.

Tables and code follow GitHub's dialect (*GitHub Flavored Markdown Spec*, 4.10 and 4.5).
"""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from markdownify import MarkdownConverter

from .contents import table_of


def as_markdown(soup: BeautifulSoup) -> str:
    r"""Write a page as Markdown.

    Parameters
    ----------
    soup : bs4.BeautifulSoup
        From `hierbayes.report.contents.read`; it is changed.

    Returns
    -------
    str
        Without any HTML.

    Examples
    --------
    >>> as_markdown(BeautifulSoup("<h1>a</h1><p>b <b>c</b> 1 < 2</p>", "html.parser"))
    '# a\n\nb **c** 1 < 2\n'
    """
    _links(soup)
    for summary in soup.find_all("summary"):
        title = soup.new_tag("strong")
        title.extend(list(summary.contents))
        summary.name = "p"
        summary.append(title)
    for caption in soup.find_all("figcaption"):
        caption.name = "p"
    for figure in soup.select("figure em"):
        figure.wrap(soup.new_tag("p"))
    text = _Converter(heading_style="atx", bullets="-", autolinks=False, wrap=True, wrap_width=None).convert_soup(
        soup
    )
    lines = (line if line.endswith("  ") and line.strip() else line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _links(soup: BeautifulSoup) -> None:
    """Links within the page lead to headings, by the anchors that Markdown gives them."""
    anchors: dict[str, str] = {}
    used: dict[str, int] = {}
    for heading in soup.find_all(re.compile("h[1-6]")):
        slug = re.sub(r"[^\w\- ]", "", " ".join(heading.get_text().split()).lower()).replace(" ", "-")
        used[slug] = used.get(slug, -1) + 1
        if heading.get("id"):
            anchors[str(heading["id"])] = slug + (f"-{used[slug]}" if used[slug] else "")
    for link in soup.find_all("a"):
        target = str(link.get("href", ""))
        if target.startswith("#"):
            if target[1:] in anchors:
                link["href"] = "#" + anchors[target[1:]]
            else:
                link.unwrap()


class _Converter(MarkdownConverter):
    """Markdown of GitHub's dialect."""

    def escape(self, text: str, parent_tags: set[str]) -> str:
        """Only what would be read as markup."""
        return re.sub(r"[\\`*_]|<(?=[A-Za-z/!?])", r"\\\g<0>", text or "")

    def convert_table(self, element: Tag, text: str, parent_tags: set[str]) -> str:
        """A pipe table, numbers to the right."""
        caption = element.find("caption")
        above = self._inline(caption) if isinstance(caption, Tag) else ""
        for cell in element.find_all(["td", "th"]):
            inner = self._inline(cell).replace("|", r"\|")
            cell.string = f"**{inner}**" if "kind" in cell.get_attribute_list("class") else inner
        table = table_of(element)
        right = [False] * len(table.columns)
        for row in element.select("tbody tr")[-1:]:
            for k, cell in enumerate(row.find_all(["td", "th"], recursive=False)):
                right[k] = "num" in cell.get_attribute_list("class")
        rule = ["---:" if numeric else "---" for numeric in right]
        lines = [f"| {' | '.join(cells)} |" for cells in (table.columns, rule, *table.rows)]
        return f"\n\n{above}\n\n" * bool(above) + "\n\n" + "\n".join(lines) + "\n\n"

    def _inline(self, element: Tag) -> str:
        """What is in an element, as one line."""
        convert: Any = self.process_element  # type: ignore[attr-defined]
        parts = [convert(child, parent_tags={"td", "_inline"}) for child in element.children]
        return " ".join("".join(parts).split())
