"""``hierbayes cite``: what to cite."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from hierbayes.cli import completion
from hierbayes.cli.fit import Method, estimate, estimation, parts_of
from hierbayes.cli.options import AsJson, Formula, ModelOptions, PosteriorOptions
from hierbayes.cli.reading import read
from hierbayes.cli.tables import print_paragraphs
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import status
from hierbayes.errors import HierbayesWarning

FEW = PosteriorOptions(seed=0, draws=20, tune=20, chains=2)
"""How a posterior is drawn that is only asked how it was drawn."""


def cite(
    model: ModelOptions,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="An example data set, a file or a saved fit; without one, what is cited for the software.",
            autocompletion=completion.sources,
        ),
    ] = None,
    formula: Formula = None,
    method: Annotated[
        Method, typer.Option(help="What was computed; both is REML (ML for other families) and the posterior.")
    ] = Method.both,
    bibtex: Annotated[bool, typer.Option("--bibtex", metavar="", help="Print BibTeX instead of a list.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what to cite: the software, the methods behind an analysis, the data."""
    if bibtex and as_json:
        raise typer.BadParameter("give one of --bibtex and --json", param_hint="--bibtex")
    results = []
    if source is not None:
        subject = read(source, [formula], model, estimation(model, method))
        results = [subject.first, *subject.fits.values()]
        if not subject.fits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HierbayesWarning)
                results += estimate(subject.first, method, model.nagq, FEW).values()
        else:
            results += parts_of(subject.fits[next(iter(subject.fits))]).values()
    with status("looking up"):
        from hierbayes.citations import cite as look_up

        found = look_up(*results)
    if as_json:
        print_json(found.references)
    elif bibtex:
        typer.echo(found.bibtex.rstrip())
    else:
        print_paragraphs(found.text.splitlines())
