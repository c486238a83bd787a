"""``hierbayes compare``: several models of the same rows, by their predictions and by their likelihoods."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierbayes.cli.exits import arguments
from hierbayes.cli.fit import about
from hierbayes.cli.options import AsJson, ModelOptions, PosteriorOptions, Source
from hierbayes.cli.reading import Subject, read
from hierbayes.cli.report import posteriors
from hierbayes.cli.tables import print_paragraphs, print_table
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import status
from hierbayes.errors import DataError, HierbayesError, HierbayesWarning

if TYPE_CHECKING:
    import pandas as pd


class Method(StrEnum):
    """What models are compared by."""

    reml = "reml"
    bayes = "bayes"
    both = "both"


class Target(StrEnum):
    """What a model has to predict."""

    row = "row"
    group = "group"
    future = "future"


WORDS = {
    Target.row: "Prediction of new rows of known groups (leave-one-out)",
    Target.group: "Prediction of new groups (leave-one-group-out)",
    Target.future: "Prediction of future rows from earlier ones (leave-future-out)",
}


def compare(
    source: Source,
    model: ModelOptions,
    posterior: PosteriorOptions,
    formulas: Annotated[
        list[str], typer.Argument(metavar="FORMULA FORMULA...", help="Two or more; or other saved fits.")
    ],
    method: Annotated[
        Method,
        typer.Option(help="bayes: predictions of posteriors; reml: likelihoods, AIC and BIC, without sampling."),
    ] = Method.both,
    target: Annotated[Target, typer.Option(help="What a posterior has to predict.")] = Target.row,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --target group: the factor, if there are several."),
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="With --target future: the times.  [default: those of ar1()]")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, metavar="N", help="With --target future: how many times ahead.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Compare models: which predicts better, and are the larger ones worth their parameters."""
    _check(target, group, time, horizon)
    subject = read(source, formulas, model)
    if len(subject.models) < 2:
        raise typer.BadParameter("a comparison needs two models or more", param_hint="FORMULA")
    found: dict[str, Any] = {}
    if method is not Method.bayes:
        with status("maximising"):
            from hierbayes.side_by_side.likelihoods import likelihoods

            try:
                found["likelihood"] = likelihoods(subject.models, model.nagq)
            except DataError:
                raise
            except HierbayesError as error:  # families without maximum likelihood
                if method is Method.reml:
                    raise
                warnings.warn(str(error), HierbayesWarning, stacklevel=1)
    said: list[str] = []
    if method in (Method.bayes, Method.both):
        fits = posteriors(subject, posterior)
        with status("leaving out"), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", HierbayesWarning)
            with arguments():
                found["elpd"] = scores(fits, target, group, time, horizon)
        said = list(dict.fromkeys(str(warning.message) for warning in caught))
    if as_json:
        print_json(
            {
                "data": source,
                "models": [{"model": name, **about(each)} for name, each in subject.models.items()],
                "target": target.value if "elpd" in found else None,
                **{name: _values(result) for name, result in found.items()},
                "warnings": said,
            }
        )
    else:
        _print(subject, found, target)
    for sentence in said:
        warnings.warn(sentence, HierbayesWarning, stacklevel=1)


def _check(target: Target, group: str | None, time: str | None, horizon: int) -> None:
    """Refuse options that go with another target."""
    for name, given, goes_with in (
        ("group", group is not None, Target.group),
        ("time", time is not None, Target.future),
        ("horizon", horizon != 1, Target.future),
    ):
        if given and target is not goes_with:
            raise typer.BadParameter(f"it goes with --target {goes_with.value}", param_hint=f"'--{name}'")


def scores(fits: dict[str, Any], target: Target, group: str | None, time: str | None, horizon: int) -> pd.DataFrame:
    """The table of `hierbayes.compare`, unrounded, with the models in a column.

    Parameters
    ----------
    fits : dict of str to Fit or FamilyFit
    target : Target
    group, time : str or None
    horizon : int

    Returns
    -------
    pandas.DataFrame
    """
    from hierbayes.cross_validation.comparison import compare as compare_fits

    scored = fits
    if target is Target.future and (time is not None or horizon != 1):
        scored = {name: fit.lfo(time, horizon=horizon) for name, fit in fits.items()}
    return unrounded(compare_fits(scored, target.value, group, round_to="none"))


def unrounded(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `hierbayes.compare` with the models in a column.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
    """
    return table.rename_axis("model").reset_index()


def _values(result: Any) -> Any:
    return {"models": result.models, "tests": result.tests} if hasattr(result, "tests") else result


def _print(subject: Subject, found: dict[str, Any], target: Target) -> None:
    import pandas as pd

    from hierbayes.report.numbers import show

    typer.echo(f"{subject.first.design.response}: {subject.first.design.size}\n")
    if "elpd" in found:
        print_scores(found["elpd"], target)
    if "likelihood" in found:
        typer.echo("Maximum likelihood")
        table, tests = found["likelihood"].models, found["likelihood"].tests
        shown = {"model": table["model"], "n_par": table["n_par"].astype(str)}
        for name in ("loglik", "aic", "bic"):
            shown[name] = [show(value, 1) for value in table[name]]
        print_table(pd.DataFrame(shown), wrap=("model",), numbers_from=1)
        if len(tests):
            _print_tests(tests)
        if not subject.first.family.exact:
            typer.echo("likelihood-ratio tests are for Gaussian responses with identity link; compare by aic and bic")


def print_scores(table: pd.DataFrame, target: Target) -> None:
    """Print which model predicts better.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `scores`.
    target : Target
    """
    import pandas as pd

    from hierbayes.report.numbers import show

    typer.echo(WORDS[target])
    shown = {"model": table["model"]}
    for name, places in {"elpd_diff": 1, "dse": 1, "elpd": 1, "se": 1, "p": 1, "weight": 2}.items():
        shown[name] = [show(value, places) for value in table[name]]
    print_table(pd.DataFrame(shown), wrap=("model",), numbers_from=1)
    typer.echo("elpd_diff: from the best model, with its standard error dse; weight: of stacking\n")


def _print_tests(tests: pd.DataFrame) -> None:
    import pandas as pd

    from hierbayes.report.numbers import plain, show

    by = " and ".join(dict.fromkeys(tests["method"]))
    typer.echo(f"Likelihood-ratio tests of nested models, by {by}")
    shown = {
        "smaller": tests["smaller"],
        "larger": tests["larger"],
        "χ²": [show(value, 2) for value in tests["chisq"]],
        "df": [plain(value) for value in tests["df"]],
        "p": ["<0.001" if value < 0.001 else show(value, 3) for value in tests["p_value"]],
    }
    print_table(pd.DataFrame(shown), wrap=("smaller", "larger"), numbers_from=2)
    for row in tests.itertuples():
        if row.note != f"χ²({row.df:.0f})":
            print_paragraphs([f"p of {row.larger}: {row.note}"])
