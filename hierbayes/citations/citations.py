"""A list of references: as a table, as text, as BibTeX."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from .reference import Reference

COLUMNS = ["key", "cited_for", "authors", "year", "title", "journal", "doi"]


@dataclass(frozen=True, repr=False)
class Citations:
    """What to cite, made by `hierbayes.cite`.

    Parameters
    ----------
    entries : tuple of Reference
        In the order of the list.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.cite()
    >>> list(found.references["key"]), found.short("nutpie")
    (['hierbayes', 'pymc', 'bambi', 'arviz', 'nutpie'], 'Seyboldt et al., 2026')
    """

    entries: tuple[Reference, ...]

    @property
    def references(self) -> pd.DataFrame:
        """One row a work: key, what it is cited for, authors, year, title, journal, doi."""
        table = pd.DataFrame([entry.record() for entry in self.entries])[COLUMNS]
        return table.astype({"year": "Int64"})

    @property
    def text(self) -> str:
        """The list of references by author, one work a line."""
        return "\n".join(entry.text for entry in self.alphabetical)

    @property
    def bibtex(self) -> str:
        """All works as BibTeX."""
        return "\n\n".join(entry.bibtex for entry in self.entries) + "\n"

    @property
    def alphabetical(self) -> list[Reference]:
        """The works by author and year, data sets last."""
        return sorted(self.entries, key=lambda entry: (not entry.authors, entry.who.casefold(), entry.year or 0))

    def short(self, *keys: str) -> str:
        """Authors and years as they stand inside parentheses.

        Parameters
        ----------
        *keys : str

        Returns
        -------
        str

        Raises
        ------
        KeyError
            If one of them is not cited.
        """
        known = {entry.key: entry.short for entry in self.entries}
        return "; ".join(known[key] for key in keys)

    def to_dict(self) -> list[dict[str, str | int | None]]:
        """Plain values, for JSON."""
        return [entry.record() for entry in self.entries]

    def __iter__(self) -> Iterator[Reference]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"{self.text}\n(.bibtex has them for BibTeX, .references what each is cited for)"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(entry.text)}</li>" for entry in self.alphabetical)
        return f"<ul>{items}</ul><pre>{html.escape(self.bibtex)}</pre>"
