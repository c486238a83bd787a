"""The report as JSON: everything that the page says, and its tables once more at full precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bs4 import BeautifulSoup

from hierbayes.plain import as_plain

from .contents import sections_of

FORMAT = 1
"""Of the record; a change that a reader would notice counts up."""


def as_json(context: Mapping[str, Any], soup: BeautifulSoup) -> str:
    """Write a report as JSON.

    Parameters
    ----------
    context : mapping
        What the page was made from.
    soup : bs4.BeautifulSoup
        The page, from `hierbayes.report.contents.read`.

    Returns
    -------
    str
        One object with ``format``, ``title``, ``formula``, ``formulas`` (of all candidates by their names), ``seed``,
        ``versions``, ``problems`` and ``findings`` (objects), ``sections`` (the page as displayed, piece by piece),
        ``tables`` (lists of records at full precision; missing numbers are null) and ``references`` (as BibTeX).
        There is no date in it: the same fit gives the same text.
    """
    reproduce = context["reproduce"]
    made = {
        "format": FORMAT,
        "title": context["title"],
        "formula": context["model"]["formula"],
        "formulas": context.get("formulas", {}),
        "seed": reproduce["seed"],
        "versions": dict(reproduce["versions"]),
        "problems": context["problems"],
        "findings": context["findings"],
        "sections": sections_of(soup),
        "tables": context.get("tables", {}),
        "references": getattr(context.get("citations"), "bibtex", ""),
    }
    return json.dumps(as_plain(made), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
