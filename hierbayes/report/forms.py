"""The report in files: the page, Markdown, JSON, the draws as netCDF and the references as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierbayes.output import check_writable, whole_file

from .contents import read
from .html import render
from .markdown import as_markdown
from .netcdf import write_netcdf
from .record import as_json

if TYPE_CHECKING:
    from hierbayes.results import FamilyFit, Fit

ENDINGS = {"": "html", ".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".json": "json"}
"""Main form of a report by the ending of its path."""
FORMS = ("html", "md", "json", "nc", "bib")
"""What there may be beside it, by the ending that it gets."""


@dataclass(frozen=True)
class Target:
    """One file of a report.

    Parameters
    ----------
    path : pathlib.Path
    form : {"html", "md", "json", "nc", "bib"}
    place : int
        Of the candidate whose draws it gets; 0 for everything else.
    """

    path: Path
    form: str
    place: int = 0


def prepare(path: str | Path, also: str | Iterable[str] = (), candidates: int = 1) -> list[Target]:
    """Which files a report becomes, making sure that all of them can be written.

    Parameters
    ----------
    path : str or pathlib.Path
        The main file; its ending chooses the form, HTML if it has none.
    also : str or iterable of str
        Further forms, which are put beside it under the same name with their own ending.
    candidates : int, default 1
        How many models have draws; those after the first get "-2", "-3", … before the ending.

    Returns
    -------
    list of Target
        The main file first.

    Raises
    ------
    ValueError
        If the ending, or a form, is not one of those above.
    OutputError
        If one of the files cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [target.path.name for target in prepare(Path(folder, "a.html"), ("md", "nc"), 2)]
    ['a.html', 'a.md', 'a.nc', 'a-2.nc']
    """
    main = Path(path)
    form = ENDINGS.get(main.suffix.lower())
    asked = list(dict.fromkeys([also] if isinstance(also, str) else also))
    unknown = [name for name in asked if name not in FORMS]
    if unknown:
        raise ValueError(f"also has {unknown[0]!r}, but further forms of a report are {', '.join(FORMS)}")
    check_writable(path)
    if form is None:
        raise ValueError(
            f"a report ends in .html, .md or .json, not in {main.suffix}, as {main.name} does; draws and references "
            'go beside it: also=("nc", "bib"), and a browser prints the HTML file to PDF'
        )
    targets = [Target(main, form)]
    for name in asked:
        if name == "nc":
            suffixes = ["", *(f"-{k}" for k in range(2, candidates + 1))]
            targets += [Target(main.with_name(f"{main.stem}{s}.nc"), name, k) for k, s in enumerate(suffixes)]
        elif name != form:
            targets.append(Target(main.with_name(f"{main.stem}.{name}"), name))
    for target in targets[1:]:
        check_writable(target.path)
    return targets


def write(
    context: Mapping[str, Any], path: str | Path, also: str | Iterable[str] = (), fits: Sequence[Fit | FamilyFit] = ()
) -> Path:
    """Write all files of a report; each appears once all of them are complete.

    Parameters
    ----------
    context : mapping
        What the templates name, with ``tables`` and ``citations`` for the other forms.
    path, also
        As in `prepare`.
    fits : sequence of Fit or FamilyFit
        Posteriors of all candidates, the main model first.

    Returns
    -------
    pathlib.Path
        The path as given.

    Raises
    ------
    OutputError
        If a file cannot be written; what was there before is then still there.
    HierbayesError
        If the draws hold what netCDF cannot.
    """
    targets = prepare(path, also, len(fits))
    page = render(context)
    with ExitStack() as open_files:
        for target in reversed(targets):  # files are put in place in the opposite order, the main one last
            file = open_files.enter_context(whole_file(target.path))
            if target.form == "nc":
                write_netcdf(fits[target.place].idata, file.name)
            else:
                file.write(_text(context, page, target.form).encode())
    return Path(path)


def _text(context: Mapping[str, Any], page: str, form: str) -> str:
    if form == "html":
        return page
    if form == "bib":
        return str(context["citations"].bibtex)
    soup = read(page)
    return as_markdown(soup) if form == "md" else as_json(context, soup)
