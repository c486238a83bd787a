"""``hierbayes zoo``: models worth knowing, with their data and what they give."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierbayes.cli import completion
from hierbayes.cli.compare import Target, print_scores, unrounded
from hierbayes.cli.exits import FOUND
from hierbayes.cli.fit import as_values, print_estimates
from hierbayes.cli.options import AsJson, PosteriorOptions, Seed
from hierbayes.cli.report import files_of, write
from hierbayes.cli.tables import print_table, width
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import status, uninterrupted
from hierbayes.errors import HierbayesError, HierbayesWarning

if TYPE_CHECKING:
    from hierbayes.zoo import Run, Verification

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A model of the zoo, or a folder with a card.", autocompletion=completion.models
    ),
]


class Posterior(StrEnum):
    """Which posteriors are verified."""

    all = "all"
    main = "main"
    none = "none"


def list_(as_json: AsJson = False) -> None:
    """List the models of the zoo."""
    with status("reading the cards"):
        from hierbayes import zoo

        table = zoo.list()
    if as_json:
        print_json(table)
        return
    columns = ["name", "title", "family", "formula"]
    print_table(table[columns if width() >= 100 else columns[:3]].astype(str), wrap=("title", "formula"))
    if missing := table["name"][~table["at_hand"]].tolist():
        typer.echo(f"data that are downloaded when they are used: {', '.join(missing)}")


def show(name: Name, as_json: AsJson = False) -> None:
    """Show a card: the question, the models that compete, what to look for."""
    with status("reading the card"):
        from hierbayes import zoo

        card = zoo.card(name)
    if as_json:
        print_json(card.as_dict())
    else:
        typer.echo(card.text(min(width(), 100)))


def run(
    name: Name,
    posterior: PosteriorOptions,
    formula: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of its models only.  [default: all that compete]")
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", metavar="", help="Whether to draw posteriors, too.")
    ] = True,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a report of the models, too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the models of a card by both inferences, and compare them."""
    if output is not None:
        if not sample:
            raise typer.BadParameter("a report needs posteriors; leave --no-sample out", param_hint="'--output'")
        files_of(output, [], 1)
    with status("loading"):
        from hierbayes import zoo
    with uninterrupted():
        found = zoo.run(
            name,
            formula,
            seed=posterior.seed,
            draws=posterior.draws,
            tune=posterior.tune,
            chains=posterior.chains,
            posterior=sample,
        )
    scores = {}
    for target in found.card.verify.elpd if len(found.fits) > 1 else ():
        with status("leaving out"):
            try:
                scores[target] = unrounded(found.compare(target, round_to="none"))
            except HierbayesError as error:  # of a model without random effects no group can be left out
                warnings.warn(f"New {target}s were not predicted: {error}", HierbayesWarning, stacklevel=1)
    nagq = found.card.models[0].nagq
    if output is not None:
        source = found.card.source.name
        sampled = {each: found.models[each] for each in found.fits}
        write(sampled, output, [], found.fits, source if source in _data_sets() else None, nagq)
        typer.echo(f"wrote {output}", err=True)
    results = {each: _results(found, each) for each in found.models}
    if as_json:
        models = {each: as_values(found.models[each], found.card.source.name, results[each]) for each in found.models}
        print_json({"name": found.card.name, "title": found.card.title, "models": models, "elpd": scores})
        return
    typer.echo(f"{found.card.title}\n")
    for each, model in found.models.items():
        typer.echo(f"{each}: ", nl=False)
        print_estimates(model, results[each], nagq)
        typer.echo()
    for target, table in scores.items():
        print_scores(table, Target(target))


def _results(found: Run, name: str) -> dict[str, Any]:
    """Fits of one model by the name of the method."""
    results = {}
    if name in found.maxima:
        results["reml" if getattr(found.maxima[name], "method", "ML") == "REML" else "ml"] = found.maxima[name]
    return results | ({"bayes": found.fits[name]} if name in found.fits else {})


def _data_sets() -> Collection[str]:
    from hierbayes.datasets.registry import REGISTRY

    return REGISTRY


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]", help="By default all whose data are here.", autocompletion=completion.models
        ),
    ] = None,
    posterior: Annotated[
        Posterior, typer.Option(help="Which posteriors: of all models, of the main one of each card, or none.")
    ] = Posterior.all,
    seed: Seed = 2,
    as_json: AsJson = False,
) -> int:
    """Fit again and compare with what is expected; ends with 1 if something differs."""
    with status("loading"):
        from hierbayes import zoo
    with uninterrupted():
        found = zoo.verify(names or None, posterior=posterior.value, seed=2 if seed is None else seed)
    if as_json:
        print_json({"ok": found.ok, "skipped": list(found.skipped), "figures": found.table})
    else:
        _print_verification(found)
    return 0 if found.ok else FOUND


def _print_verification(found: Verification) -> None:
    import pandas as pd

    from hierbayes.report.numbers import brief, plain

    summary = found.summary()
    shown = {
        "model": summary["model"],
        "formula": summary["formula"],
        "figures": summary["quantities"].astype(str),
        "differ": [str(value) if value else "" for value in summary["failed"]],
        "worst": [brief(value) for value in summary["worst"]],
    }
    print_table(pd.DataFrame(shown), numbers_from=2)
    typer.echo("worst: the largest difference, as a part of what is tolerated")
    if not found.ok:
        wrong = found.failures
        texts = {name: wrong[name] for name in ("model", "formula", "quantity")}
        numbers = {name: [plain(value) for value in wrong[name]] for name in ("expected", "found")}
        print_table(
            pd.DataFrame(texts | numbers | {"tolerance": [brief(v) for v in wrong["tolerance"]]}), numbers_from=3
        )
    typer.echo(found.sentence)


def record(
    name: Name,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Fit the models of a card at length and write down what they give, as expected.json in its folder."""
    with status("loading"):
        from hierbayes import zoo
    with uninterrupted():
        path = zoo.record(name, seed=1 if seed is None else seed)
    if as_json:
        print_json({"written": str(path)})
    else:
        typer.echo(f"wrote {path}")
