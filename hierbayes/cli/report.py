"""``hierbayes report``: everything about one model or several, in files to send to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierbayes.cli.exits import warnings_about
from hierbayes.cli.options import Formula, ModelOptions, PosteriorOptions, Source, changed
from hierbayes.cli.reading import Subject, read, refuse_for_saved
from hierbayes.cli.waiting import sample, status, uninterrupted
from hierbayes.errors import OutputError

if TYPE_CHECKING:
    from hierbayes.datasets.sources import File
    from hierbayes.model import Model


class Form(StrEnum):
    """What is written beside the report."""

    html = "html"
    md = "md"
    json = "json"
    nc = "nc"
    bib = "bib"


def report(
    source: Source,
    model: ModelOptions,
    posterior: PosteriorOptions,
    formula: Formula = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMULA", help="A further candidate (or, beside a saved fit, another); may be given again."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The report: .html, .md or .json.  [default: reports/NAME.html]"
        ),
    ] = None,
    also: Annotated[
        list[Form] | None,
        typer.Option(
            metavar="FORM", help="Also write html, md, json, nc (draws) or bib (references); may be given again."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Write the report as JSON, too, and print it on stdout.")
    ] = False,
) -> None:
    """Write a report of one model or several: REML (ML for other families) and posterior side by side in one file."""
    subject = read(source, [formula, *(compare or [])], model)
    path = output if output is not None else Path("reports", f"{subject.stem}.html")
    forms = list(dict.fromkeys([*(form.value for form in also or []), *(["json"] if as_json else [])]))
    files = files_of(path, forms, len(subject.models))
    fits = posteriors(subject, posterior)
    write(subject.models, path, forms, fits, subject.source, model.nagq)
    for file in files:
        typer.echo(f"wrote {file}", err=as_json)
    if as_json:
        text = next(file for file in files if file.suffix == ".json").read_text(encoding="utf-8")
        typer.echo(text, nl=False)


def write(
    models: Mapping[str, Model],
    path: Path,
    forms: Sequence[str],
    fits: Mapping[str, Any],
    source: str | File | None,
    nagq: int,
) -> None:
    """Write a report of fits that were made before.

    Parameters
    ----------
    models : mapping of str to Model
    path : pathlib.Path
    forms : sequence of str
        What is written beside it.
    fits : mapping of str to Fit or FamilyFit
    source : str, File or None
        Of the data.
    nagq : int

    Raises
    ------
    KeyboardInterrupt
    """
    with status("loading"):
        from hierbayes.report import report as report_
    with uninterrupted():
        report_(models, path, fit=fits, also=forms, source=source, nagq=nagq)


def files_of(path: Path, forms: Sequence[str], models: int) -> list[Path]:
    """All files of a report, after it has been found that they can be written.

    Parameters
    ----------
    path : pathlib.Path
    forms : sequence of str
    models : int

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    OutputError
        If one of them cannot.
    typer.BadParameter
        If its ending is that of no report.
    """
    from hierbayes.output import make_folder
    from hierbayes.report.forms import prepare

    make_folder(path)
    try:
        return [target.path for target in prepare(path, forms, models)]
    except OutputError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--output'") from error


def posteriors(subject: Subject, options: PosteriorOptions) -> dict[str, Any]:
    """The posterior of every model: saved, or drawn now.

    Parameters
    ----------
    subject : Subject
    options : PosteriorOptions

    Returns
    -------
    dict of str to Fit or FamilyFit
    """
    if subject.fits and all(hasattr(fit, "idata") for fit in subject.fits.values()):
        refuse_for_saved(changed(options))
    found = {}
    for number, (name, model) in enumerate(subject.models.items(), start=1):
        saved = subject.fits.get(name)
        many = f" {number} of {len(subject.models)}" if len(subject.models) > 1 else ""
        with warnings_about(subject.heading(name)):
            found[name] = saved if hasattr(saved, "idata") else sample(model, options, f"sampling{many}")
    return found
