"""``hierbayes fit``: estimates of one model."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierbayes.cli.options import AsJson, Formula, ModelOptions, PosteriorOptions, Source, changed
from hierbayes.cli.reading import SAVED, read
from hierbayes.cli.tables import print_table
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import sample
from hierbayes.errors import HierbayesWarning

if TYPE_CHECKING:
    from hierbayes.model import Model

TITLES = {"reml": "REML", "ml": "ML", "bayes": "posterior"}


class Method(StrEnum):
    """What is computed; of a response that is not Gaussian, both are ML and the posterior."""

    reml = "reml"
    ml = "ml"
    bayes = "bayes"
    both = "both"


def fit(
    source: Source,
    model: ModelOptions,
    posterior: PosteriorOptions,
    formula: Formula = None,
    method: Annotated[
        Method, typer.Option(help="What to compute; both is REML (ML for other families) and the posterior.")
    ] = Method.both,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save the fit, as sleep.hb.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a model and print its estimates; or print those of a saved fit."""
    if output is not None:
        from hierbayes.output import check_writable, make_folder

        if output.suffix != SAVED:
            raise typer.BadParameter(f"a fit is saved in a file that ends with {SAVED}", param_hint="'--output'")
        make_folder(output)
        check_writable(output)
    subject = read(source, [formula], model, estimation(model, method, posterior))
    found = (
        parts_of(next(iter(subject.fits.values())))
        if subject.fits
        else estimate(subject.first, method, model.nagq, posterior)
    )
    if output is not None:
        kept = found.get("bayes") or next(iter(found.values()))
        kept.save(output)
        typer.echo(f"wrote {output}", err=True)
    nagq = getattr(found.get("ml"), "nagq", 1)
    if as_json:
        print_json(as_values(subject.first, source, found))
    else:
        print_estimates(subject.first, found, nagq)


def estimate(model: Model, method: Method, nagq: int, posterior: PosteriorOptions, title: str = "") -> dict[str, Any]:
    """Fit a model in one or two ways.

    Parameters
    ----------
    model : Model
    method : Method
    nagq : int
        Of the maximum of another family than the Gaussian.
    posterior : PosteriorOptions
    title : str
        Of the progress bar.

    Returns
    -------
    dict of str to fit
        Some of reml, ml and bayes.

    Raises
    ------
    typer.BadParameter
        For REML of a response that is not Gaussian.
    """
    found: dict[str, Any] = {}
    if method is Method.reml and not model.family.exact:
        raise typer.BadParameter("REML needs a Gaussian response with identity link; use ml", param_hint="'--method'")
    if method is Method.reml or (method is Method.both and model.family.exact):
        found["reml"] = model.reml()
    elif method is Method.ml:
        found["ml"] = model.ml(nagq=nagq)
    elif method is Method.both:
        from hierbayes.report.method import maximum

        found["ml"], _, reason = maximum(model, nagq)
        if reason:
            del found["ml"]
            warnings.warn(reason, HierbayesWarning, stacklevel=1)
    if method in (Method.bayes, Method.both):
        found["bayes"] = sample(model, posterior, title or "sampling")
    return found


def estimation(model: ModelOptions, method: Method, posterior: PosteriorOptions | None = None) -> list[str]:
    """Names of the options given that say how to estimate, which a saved fit has no use for.

    Parameters
    ----------
    model : ModelOptions
    method : Method
    posterior : PosteriorOptions, optional

    Returns
    -------
    list of str
    """
    nagq = [name for name in changed(model) if name == "nagq"]
    return [*([] if method is Method.both else ["method"]), *nagq, *(changed(posterior) if posterior else [])]


def parts_of(saved: Any) -> dict[str, Any]:
    """A maximum, a posterior, or both, by the name of the method.

    Parameters
    ----------
    saved : RemlFit, LaplaceFit, Fit or FamilyFit

    Returns
    -------
    dict of str to fit
    """
    if not hasattr(saved, "idata"):
        return {"reml" if getattr(saved, "method", "ML") == "REML" else "ml": saved}
    reml = getattr(saved, "reml", None)
    return ({} if reml is None else {"reml": reml}) | {"bayes": saved}


def as_values(model: Model, source: str, found: dict[str, Any]) -> dict[str, Any]:
    """The results as plain values and tables.

    Parameters
    ----------
    model : Model
    source : str
    found : dict of str to fit

    Returns
    -------
    dict
    """
    made = about(model) | {"data": source}
    for method, result in found.items():
        made[method] = {"estimates": result.tidy()}
        if method == "bayes":
            convergence = result.convergence
            made[method] |= {
                "seed": result.idata.attrs["seed"],
                "divergences": convergence.divergences,
                "problems": list(convergence.problems),
                "diagnostics": convergence.table.rename_axis("parameter").reset_index(),
            }
        else:
            made[method] |= {
                "criterion": result.criterion,
                "singular": result.singular,
                "converged": result.converged,
                "message": result.message,
            }
        if method == "ml":
            made[method]["nagq"] = getattr(result, "nagq", None)
    return made


def about(model: Model) -> dict[str, Any]:
    """What a model is, as plain values.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
    """
    design = model.design
    made: dict[str, Any] = {
        "formula": design.formula,
        "family": design.family.name,
        "link": design.family.link,
        "rows": design.n,
        "rows_dropped": design.n_dropped,
        "levels": {factor.name: len(factor.levels) for factor in design.factors},
    }
    if design.residual is not None:
        made["residual"] = design.residual.text
    if design.event is not None:
        made["event"] = design.event
    return made


def heading(model: Model) -> str:
    """What a model is, in two lines.

    Parameters
    ----------
    model : Model

    Returns
    -------
    str
    """
    design = model.design
    parts = [design.size]
    if design.residual is not None:
        parts.append(f"residuals {design.residual.text}")
    if not model.family.exact:
        parts.append(f"family {design.family}")
    return f"{design.formula}\n{', '.join(parts)}"


def print_estimates(model: Model, found: dict[str, Any], nagq: int) -> None:
    """Print estimates of one or two methods in one table.

    Parameters
    ----------
    model : Model
    found : dict of str to fit
    nagq : int
    """
    import pandas as pd

    from hierbayes.estimates import RESIDUAL
    from hierbayes.names import RHO
    from hierbayes.report.method import laplace
    from hierbayes.report.numbers import places, show

    tables = [result.tidy() for result in found.values()]
    columns = ["estimate", "std_error", "conf_low", "conf_high"]
    rows = []
    for same in zip(*(table.itertuples() for table in tables), strict=True):
        values = [[float(getattr(row, column)) for column in columns] for row in same]
        correlation = str(same[0].term).startswith("corr(") or (same[0].group, same[0].term) == (RESIDUAL, RHO)
        digits = 3 if correlation else None
        digits = digits or places([v for row in values for v in (row[0], row[2], row[3])], [row[1] for row in values])
        group = "" if pd.isna(same[0].group) else str(same[0].group)
        rows.append([group, str(same[0].term), *(show(value, digits) for row in values for value in row)])
    names = ["group", "term"]
    for method in found:
        middle = ("mean", "sd") if method == "bayes" else ("estimate", "s.e.")
        names += [f"{TITLES[method]}\n{middle[0]}", *(f"\n{name}" for name in (middle[1], "2.5%", "97.5%"))]
    typer.echo(heading(model))
    print_table(pd.DataFrame(rows, columns=names), numbers_from=2, pack=4)
    for method, result in found.items():
        if method == "bayes":
            verdict = "converged" if result.convergence.ok else " ".join(result.convergence.problems)
            typer.echo(f"posterior: 95% equal-tailed intervals; seed {result.idata.attrs['seed']}; {verdict}")
        else:
            exact = model.family.exact
            how = "95% Wald intervals"
            how += ", of fixed effects with Satterthwaite's degrees of freedom" if exact else ""
            title = TITLES[method] if exact else laplace(nagq).name
            typer.echo(f"{title}: {how}; criterion {result.criterion:.4f}; {result.message}")
