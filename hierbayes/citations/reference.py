"""One entry of a list of references, as text and as BibTeX."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

LATEX = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "á": r"{\'a}", "é": r"{\'e}", "í": r"{\'i}", "ó": r"{\'o}", "ú": r"{\'u}", "ä": r'{\"a}', "ö": r'{\"o}',
    "ü": r'{\"u}', "å": r"{\aa}", "ø": r"{\o}", "ß": r"{\ss}", "–": "--", "²": r"$^2$", "’": "'",
}  # fmt: skip
"""Characters that BibTeX wants written otherwise."""
CAPITALS = (
    "Bayesian", "Python", "Hamiltonian", "Monte", "Carlo", "No-U-Turn", "lme4", "Pareto", "PyMC", "ArviZ", "Bambi",
    "nutpie", "hierbayes", "REML", "Student-t", "Fisher", "Gauss", "R-squared", "WAIC", "R-hat", "nlme", "S-PLUS",
    "S",
)  # fmt: skip
"""Words of titles that keep their letters."""
JOURNAL, BOOK, SOFTWARE, PREPRINT, DATA = "article", "book", "software", "preprint", "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One work.

    Parameters
    ----------
    key : str
        What it is called here.
    kind : {"article", "book", "software", "preprint", "data"}
    authors : tuple of str
        ``"Family, Given"`` each; an institution has no comma.
    year : int or None
    title : str
    journal : str
        Or publisher of a book.
    volume, number, pages : str
    doi, url : str
        The address is for what has no DOI.
    version : str
        Of software.
    cited_for : str
        What a paper would cite it for.
    """

    key: str
    kind: str = JOURNAL
    authors: tuple[str, ...]
    year: int | None
    title: str
    journal: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    url: str = ""
    version: str = ""
    cited_for: str = ""

    @property
    def families(self) -> list[str]:
        """Family names of the authors."""
        return [author.partition(",")[0] for author in self.authors]

    @property
    def who(self) -> str:
        """The authors in a sentence: one, both, or the first of more."""
        names = self.families
        if len(names) > 2:
            return f"{names[0]} et al."
        return " & ".join(names)

    @property
    def when(self) -> str:
        """The year, or that there is none."""
        return "n.d." if self.year is None else str(self.year)

    @property
    def short(self) -> str:
        """Author and year, as in a sentence.

        Examples
        --------
        >>> from hierbayes.citations.references import REFERENCES
        >>> REFERENCES["nuts"].short, REFERENCES["loo"].short
        ('Hoffman & Gelman, 2014', 'Vehtari et al., 2017')
        """
        return f"{self.who}, {self.when}"

    @property
    def text(self) -> str:
        """The entry of a list of references.

        Examples
        --------
        >>> from hierbayes.citations.references import REFERENCES
        >>> print(REFERENCES["reml"].text)
        Patterson, H. D. & Thompson, R. (1971). Recovery of inter-block information when block sizes are unequal. \
Biometrika 58(3), 545–554. https://doi.org/10.1093/biomet/58.3.545
        """
        if self.kind == DATA:
            return self.title
        authors = self.authors
        listed = authors[0] if len(authors) == 1 else f"{', '.join(authors[:-1])} & {authors[-1]}"
        issue = f" {self.volume}" + (f"({self.number})" if self.number else "") if self.volume else ""
        where = f"{self.journal}{issue}" + (f", {self.pages}" if self.pages else "")
        title = self.title + (f" (version {self.version})" if self.version else "")
        ends = [f"{listed} ({self.when}).", f"{title}.", f"{where}." if where else "", self.address]
        return " ".join(part for part in ends if part)

    @property
    def label(self) -> str:
        """Key of the BibTeX entry: first author and year, or the name of software and data."""
        if self.kind in (SOFTWARE, DATA):
            return self.key
        plain = unicodedata.normalize("NFKD", self.families[0]).encode("ascii", "ignore").decode()
        return f"{plain.lower().replace('-', '')}{self.when}"

    @property
    def address(self) -> str:
        """Where it is found, empty if only on paper."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    @property
    def bibtex(self) -> str:
        """The BibTeX entry.

        Examples
        --------
        >>> from hierbayes.citations.references import REFERENCES
        >>> print(REFERENCES["nuts"].bibtex)
        @article{hoffman2014,
          author = {Hoffman, M. D. and Gelman, A.},
          title = {The {No-U-Turn} sampler: adaptively setting path lengths in {Hamiltonian} {Monte} {Carlo}},
          journal = {Journal of Machine Learning Research},
          volume = {15},
          number = {47},
          pages = {1593--1623},
          year = {2014},
          url = {https://jmlr.org/papers/v15/hoffman14a.html},
        }
        """
        kind = {JOURNAL: "article", BOOK: "book"}.get(self.kind, "misc")
        people = " and ".join(_latex(a) if "," in a else f"{{{_latex(a)}}}" for a in self.authors)
        fields = {
            "author": people,
            "title": f"Data set {self.key.removeprefix('data_')}" if self.kind == DATA else _title(self.title),
            "note": _latex(self.title) if self.kind == DATA else "",
            "publisher" if kind == "book" else "journal": _latex(self.journal),
            "volume": self.volume,
            "number": self.number,
            "pages": _latex(self.pages),
            "year": "" if self.year is None else str(self.year),
            "version": self.version,
            "doi": self.doi,
            "url": "" if self.doi else self.url,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{self.label},", *lines, "}"])

    def record(self) -> dict[str, str | int | None]:
        """All of it as plain values, for JSON."""
        return {
            "key": self.key,
            "kind": self.kind,
            "authors": "; ".join(self.authors),
            "year": self.year,
            "title": self.title,
            "journal": self.journal,
            "doi": self.doi,
            "url": self.address,
            "cited_for": self.cited_for,
            "text": self.text,
        }


def _latex(text: str) -> str:
    """Text as LaTeX reads it."""
    return "".join(LATEX.get(character, character) for character in text)


def _title(text: str) -> str:
    """A title whose names keep their capitals."""
    words = []
    for word in text.split(" "):
        bare = word.strip(",.:;()")
        words.append(_latex(word).replace(bare, f"{{{bare}}}", 1) if bare in CAPITALS else _latex(word))
    return " ".join(words)
