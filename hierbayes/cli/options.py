"""Arguments and options that several commands have, each described once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from hierbayes.cli import completion

LARGEST_SEED = 2**32 - 1
MODEL, POSTERIOR, TEXT_FILES = "Model", "Posterior", "Text files"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="An example data set, a file (CSV, Parquet or Feather; - is CSV from a pipe), or a saved fit (.hb).",
        autocompletion=completion.sources,
    ),
]
Formula = Annotated[
    str | None,
    typer.Argument(metavar="FORMULA", help="Such as 'y ~ x + (x | group)'; example data sets have one of their own."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="Same seed, same draws.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class ModelOptions:
    """What a model has beside its formula, and how a text file is read."""

    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the response: poisson, binomial ('p(successes, trials) ~ ...'), ...  [default: gaussian]",
            rich_help_panel=MODEL,
            autocompletion=completion.families,
        ),
    ] = None
    link: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Link of the family: logit, log, ...  [default: Bambi's]",
            rich_help_panel=MODEL,
            autocompletion=completion.links,
        ),
    ] = None
    nagq: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            metavar="N",
            help="Of families but the Gaussian: quadrature nodes of ML; 1 is Laplace.",
            rich_help_panel=MODEL,
        ),
    ] = 1
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Precision weights: the residual variance of a row is σ²/weight.",
            rich_help_panel=MODEL,
        ),
    ] = None
    se: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Known standard errors of the rows, as in a meta-analysis.",
            rich_help_panel=MODEL,
        ),
    ] = None
    residual: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Correlation of the residuals: 'ar1(time | group)', 'ar1(1 | group)' or 'cs(group)'.",
            rich_help_panel=MODEL,
        ),
    ] = None
    separator: Annotated[
        str,
        typer.Option(metavar="CHARACTER", help="Between the columns: ';', tab, ...", rich_help_panel=TEXT_FILES),
    ] = ","
    decimal: Annotated[
        str,
        typer.Option(metavar="CHARACTER", help="Decimal point of the numbers.", rich_help_panel=TEXT_FILES),
    ] = "."


@dataclass(frozen=True)
class PosteriorOptions:
    """How a posterior is drawn."""

    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            metavar="N",
            help="Same seed, same draws.",
            show_default=False,
            rich_help_panel=POSTERIOR,
        ),
    ] = None
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Draws kept per chain.", rich_help_panel=POSTERIOR)
    ] = 1000
    tune: Annotated[
        int, typer.Option(min=1, metavar="N", help="Warm-up draws per chain.", rich_help_panel=POSTERIOR)
    ] = 1000
    chains: Annotated[int, typer.Option(min=1, metavar="N", help="Number of chains.", rich_help_panel=POSTERIOR)] = 4


def flat(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command of which every field of a dataclass among its parameters is an option of its own.

    Parameters
    ----------
    command : callable

    Returns
    -------
    callable
        With the signature that Typer reads.

    Examples
    --------
    >>> def command(name: str, posterior: PosteriorOptions) -> int:
    ...     return posterior.draws
    >>> list(inspect.signature(flat(command)).parameters)
    ['name', 'seed', 'draws', 'tune', 'chains']
    >>> flat(command)(name="a", seed=1, draws=7, tune=1, chains=1)
    7
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            parameters += _parameters(kind)
        else:
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**given: Any) -> Any:
        gathered = {name: _gather(kind, given) for name, kind in hints.items() if is_dataclass(kind)}
        return command(**given, **gathered)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(kind: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)
    ]


def _gather(kind: Any, given: Any) -> Any:
    """Take the fields of a dataclass out of what was given."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind)})


def changed(options: Any) -> Mapping[str, Any]:
    """Which options were given another value than their default.

    Examples
    --------
    >>> changed(PosteriorOptions(draws=500))
    {'draws': 500}
    """
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != field.default
    }
