"""``hierbayes power``: how large a study must be."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hierbayes.cli.assignments import assigned, by_group, counts, number, parameter, predictor
from hierbayes.cli.exits import INTERRUPTED, arguments
from hierbayes.cli.options import AsJson, ModelOptions, Seed
from hierbayes.cli.reading import SAVED, apart, read
from hierbayes.cli.tables import print_table
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import status
from hierbayes.errors import IncompleteWarning

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.study.result import Power

TRUTH, DESIGN, ANALYSIS = "What is true", "The study", "Its analysis"
LEAST = 3
"""Designs that a size can be read off."""


class Test(StrEnum):
    """How a study is analysed."""

    satterthwaite = "satterthwaite"
    kenward_roger = "kenward-roger"
    z = "z"
    lrt = "lrt"
    posterior = "posterior"


def power(
    model: Annotated[str, typer.Argument(metavar="FORMULA-OR-FIT", help="A formula, or a saved fit (.hb).")],
    effect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            rich_help_panel=TRUTH,
            help="A fixed effect, as x=0.3, or a distribution of it, as 'x=norm(0.3, 0.1)'; may be given again.",
        ),
    ] = None,
    sd: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=NUMBER",
            rich_help_panel=TRUTH,
            help="A standard deviation of random effects: g=0.5; of several '1|g=0.5' and 'x|g=0.2'.",
        ),
    ] = None,
    correlation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=NUMBER", rich_help_panel=TRUTH, help="Of the random effects of a group.  [default: 0]"
        ),
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", rich_help_panel=TRUTH, help="Standard deviation of the residuals."),
    ] = None,
    rho: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", rich_help_panel=TRUTH, help="Correlation of the residuals (see --residual)."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBERS",
            rich_help_panel=DESIGN,
            help="Groups, or alternatives: 10,20,30; of several factors subject=10,20 and item=30.",
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="NUMBERS", rich_help_panel=DESIGN, help="Rows of every group: 5, or 5,10.")
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            rich_help_panel=DESIGN,
            help="A predictor that varies within groups: 'x=norm(0, 1)' of scipy.stats, or x=0,1,2.",
        ),
    ] = None,
    between: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            rich_help_panel=DESIGN,
            help="A predictor that is constant within groups: treated=0,1; of several factors 'treated|g=0,1'.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", rich_help_panel=DESIGN, help="The predictors and groups planned, instead of all these."
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="COLUMN", rich_help_panel=DESIGN, help="Precision weights.")
    ] = None,
    se: Annotated[
        str | None, typer.Option(metavar="COLUMN", rich_help_panel=DESIGN, help="Known standard errors of the rows.")
    ] = None,
    residual: Annotated[
        str | None,
        typer.Option(metavar="TEXT", rich_help_panel=DESIGN, help="Correlation of the residuals: 'ar1(time | g)'."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=ANALYSIS,
            help="What is looked for: a coefficient, a term, 'sd(x)', a group.  [default: the only predictor]",
        ),
    ] = None,
    method: Annotated[
        Test | None,
        typer.Option(rich_help_panel=ANALYSIS, help="[default: Satterthwaite's test, of a variance lrt]"),
    ] = None,
    success: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            rich_help_panel=ANALYSIS,
            help="Of a posterior: direction=0.95, rope=0.1, width=4.  [default: the interval excludes 0]",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(metavar="NUMBER", rich_help_panel=ANALYSIS, help="Level of the test.")
    ] = 0.05,
    target: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Say which size has this power, as 0.8 (from three sizes or more)."),
    ] = None,
    simulations: Annotated[
        int, typer.Option("--simulations", "--sims", min=1, metavar="N", help="Of every design.")
    ] = 1000,
    seed: Seed = None,
    cores: Annotated[int, typer.Option(min=1, metavar="N", help="Processes.")] = 1,
    as_json: AsJson = False,
) -> int:
    """Simulate studies that are still to be made, and count how many find what they look for."""
    if target is not None and not 0.0 < target < 1.0:
        raise typer.BadParameter("a power is between 0 and 1", param_hint="'--target'")
    sizes = _sizes(groups)
    alternatives = [sizes, *(sizes.values() if isinstance(sizes, dict) else []), _rows(rows)]
    if target is not None and not any(isinstance(each, list) and len(set(each)) >= LEAST for each in alternatives):
        raise typer.BadParameter(
            f"a size is read off {LEAST} designs or more; give --groups 10,20,30", param_hint="'--target'"
        )
    with status("loading"):
        from hierbayes.study.power import power as simulate
    given = {
        "effects": assigned(effect, "--effect", parameter),
        "sds": by_group(assigned(sd, "--sd", parameter), effects=True),
        "correlations": assigned(correlation, "--correlation", parameter),
        "sigma": None if sigma is None else assigned([f"sigma={sigma}"], "--sigma", parameter)["sigma"],
        "rho": rho,
        "groups": sizes,
        "rows": _rows(rows),
        "within": assigned(within, "--within", predictor),
        "between": by_group(assigned(between, "--between", predictor), effects=False),
        "data": None if data is None else _planned(data),
        "weights": weights,
        "se": se,
        "residual": residual,
        "test": test,
        "method": None if method is None else method.value,
        "success": assigned(success, "--success", number),
    }
    given = {
        name: value
        for name, value in given.items()
        if value is not None and not (isinstance(value, dict) and not value)
    }
    with arguments(), warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)  # a remark says so
        what = _fit(model) if model.endswith(SAVED) else model
        found = apart(simulate, what, alpha=alpha, simulations=simulations, seed=seed, cores=cores, **given)
        needed = None if target is None else found.sample_size(target)
    if as_json:
        print_json(_values(found, target, needed))
    else:
        _print(found, target, needed)
    return INTERRUPTED if found.interrupted else 0


def _sizes(groups: list[str] | None) -> Any:
    """Numbers of groups: one, alternatives, or these by factor."""
    if not groups:
        return None
    if len(groups) == 1 and "=" not in groups[0]:
        return assigned([f"groups={groups[0]}"], "--groups", counts)["groups"]
    return assigned(groups, "--groups", counts)


def _rows(rows: str | None) -> Any:
    return None if rows is None else assigned([f"rows={rows}"], "--rows", counts)["rows"]


def _planned(data: str) -> pd.DataFrame:
    from hierbayes.datasets.sources import find_data

    return find_data(data)[0]


def _fit(path: str) -> Any:
    return next(iter(read(path, [], ModelOptions()).fits.values()))


def _values(found: Power, target: float | None, needed: pd.DataFrame | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "asked": found.asked,
        "measure": found.target,
        "seed": found.seed,
        "designs": found.table,
        "failures": found.failures,
        "interrupted": found.interrupted,
    }
    return made if needed is None else made | {"target": target, "sample_size": needed}


def _print(found: Power, target: float | None, needed: pd.DataFrame | None) -> None:
    import pandas as pd

    from hierbayes.report.numbers import brief
    from hierbayes.study.result import sizes_of

    typer.echo(f"{found.target.capitalize()} of the {found.asked}")
    sizes = sizes_of(found.table)
    titles = {
        "power": found.target, "conf_low": "2.5%", "conf_high": "97.5%", "bias": "bias", "coverage": "coverage",
        "width": "width", "type_s": "type S", "exaggeration": "exaggeration", "failed": "failed",
    }  # fmt: skip
    table = found.table[found.table["power"].notna()]  # of designs that were not reached nothing is known
    shown = {name: table[name].astype(str) for name in sizes}
    for name, title in titles.items():
        if table[name].notna().any():
            values = table[name]
            shown[title] = values.astype(str) if name == "failed" else [_share(v, name, brief) for v in values]
    if len(table):
        print_table(pd.DataFrame(shown), numbers_from=len(sizes))
    for remark in found.remarks:
        typer.echo(remark)
    if needed is not None:
        for row in needed.to_dict(orient="records"):
            typer.echo(_needed(row, target, found.target))


def _share(value: float, name: str, brief: Any) -> str:
    """A share with three decimals, or another number with three digits."""
    if name in {"bias", "width", "exaggeration"} or value != value:
        return brief(value)
    return f"{value:.3f}"


def _needed(row: dict[str, Any], target: float | None, measure: str) -> str:
    """Which size has the power wanted, as a sentence."""
    import pandas as pd

    where = ", ".join(f"{name} {row[name]}" for name in row if name not in ALONG)
    beside = f" ({where})" if where else ""
    if pd.isna(row["needed"]):
        return f"{row['varied']} for a {measure} of {target:g}{beside}: {row['note']}"
    high = "…" if pd.isna(row["conf_high"]) else row["conf_high"]
    note = f"; {row['note']}" if row["note"] else ""
    return (
        f"{row['varied']} for a {measure} of {target:g}{beside}: {row['needed']} (95% Monte Carlo interval "
        f"{row['conf_low']} to {high}){note}"
    )


ALONG = {"varied", "needed", "conf_low", "conf_high", "note"}
"""Columns of the table of sizes that do not say what else a design has."""
