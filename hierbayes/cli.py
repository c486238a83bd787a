"""The command line: arguments, files, progress, exit codes. The only module that prints.

Exit codes: 0 for success, 2 for anything that the user can put right (one sentence on stderr), 130
after Ctrl-C. Whatever takes long to import is imported by the command that needs it.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hierbayes.errors import HierbayesError, HierbayesWarning, IncompleteWarning

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.model import Model
    from hierbayes.results import FamilyFit, Fit

INTERRUPTED = 130
REFUSED = 2
LARGEST_SEED = 2**32 - 1
_UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for wrong arguments; the class has moved between its versions."""


class _Commands(TyperGroup):
    """The commands, with every expected failure as one line and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run a command."""
        with _one_line_warnings():
            code = self._run(args, extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, args: Sequence[str] | None, extra: dict[str, Any]) -> int:
        try:
            result = super().main(args, **{**extra, "standalone_mode": False})
        except HierbayesError as error:
            return _refuse(str(error))
        except _UsageError as error:
            message = error.format_message().rstrip(".")
            if not message:  # no command: the help has been printed
                return REFUSED
            where = error.ctx.command_path if error.ctx is not None else "hierbayes"
            return _refuse(f"{message}; see '{where} --help'.")
        except (KeyboardInterrupt, typer.Abort):
            result = INTERRUPTED
        if result == INTERRUPTED:
            typer.echo("interrupted", err=True)
        return result if isinstance(result, int) else 0


def _refuse(message: str) -> int:
    typer.echo(f"error: {_line(message)}", err=True)
    return REFUSED


def _line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Write warnings as one line each, without their place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"warning: {_line(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", HierbayesWarning)
        warnings.showwarning = show
        yield


app = typer.Typer(
    cls=_Commands,
    help="Mixed models from one formula: the REML fit and the Bayesian posterior, side by side.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the ``hierbayes`` command."""
    app()


class Method(StrEnum):
    """What `hierbayes fit` computes; of a response that is not Gaussian, both are ML and the posterior."""

    reml = "reml"
    ml = "ml"
    bayes = "bayes"
    both = "both"


Source = Annotated[str, typer.Argument(metavar="NAME-OR-CSV", help="An example data set, or a CSV file.")]
Formula = Annotated[
    str | None,
    typer.Argument(metavar="FORMULA", help="Such as 'y ~ x + (x | group)'; example data sets have one of their own."),
]
Family = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of the response: poisson, binomial ('p(successes, trials) ~ ...'), ...  [default: gaussian]",
    ),
]
Link = Annotated[
    str | None, typer.Option(metavar="NAME", help="Link of the family: logit, log, ...  [default: Bambi's]")
]
Nodes = Annotated[
    int,
    typer.Option(
        min=1, max=100, metavar="N", help="Of families but the Gaussian: quadrature nodes of ML; 1 is Laplace."
    ),
]
Seed = Annotated[
    int | None, typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="Same seed, same draws.", show_default=False)
]
Draws = Annotated[int, typer.Option(min=1, metavar="N", help="Draws kept per chain.")]
Tune = Annotated[int, typer.Option(min=1, metavar="N", help="Warm-up draws per chain.")]
Chains = Annotated[int, typer.Option(min=1, metavar="N", help="Number of chains.")]
Weights = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Precision weights: the residual variance of a row is σ²/weight."),
]
Errors = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Known standard errors of the rows, as in a meta-analysis.")
]
Residual = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help="Correlation of the residuals: 'ar1(time | group)', 'ar1(1 | group)' or 'cs(group)'."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hierbayes {version('hierbayes')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: hierbayes report sleepstudy --seed 1")
def report(
    source: Source,
    formula: Formula = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The HTML file.  [default: reports/NAME.html]"),
    ] = None,
    family: Family = None,
    link: Link = None,
    nagq: Nodes = 1,
    weights: Weights = None,
    se: Errors = None,
    residual: Residual = None,
    seed: Seed = None,
    draws: Draws = 1000,
    tune: Tune = 1000,
    chains: Chains = 4,
) -> None:
    """Write a report: one HTML file with the REML fit (ML for other families) and the posterior side by side."""
    from hierbayes.output import check_writable, make_folder

    with _status("reading data"):
        data, formula, usual, stem = _read(source, formula)
    path = output if output is not None else Path("reports", f"{stem}.html")
    make_folder(path)
    check_writable(path)
    model = _model(formula, data, nagq, family=family or usual, link=link, weights=weights, se=se, residual=residual)
    fit = _sample(model, seed, draws, tune, chains)
    with _status("writing the report"):
        from hierbayes.report import report as write

        write(model, path, fit=fit, source=source, nagq=nagq)
    typer.echo(f"wrote {path}")


@app.command(epilog="Example: hierbayes fit sleepstudy 'Reaction ~ Days + (1 | Subject)' --method reml")
def fit(
    source: Source,
    formula: Formula = None,
    method: Annotated[
        Method, typer.Option(help="What to compute; both is REML (ML for other families) and the posterior.")
    ] = Method.both,
    family: Family = None,
    link: Link = None,
    nagq: Nodes = 1,
    weights: Weights = None,
    se: Errors = None,
    residual: Residual = None,
    seed: Seed = None,
    draws: Draws = 1000,
    tune: Tune = 1000,
    chains: Chains = 4,
    as_json: AsJson = False,
) -> None:
    """Fit a model and print its estimates as a table."""
    with _status("reading data"):
        data, formula, usual, _ = _read(source, formula)
    model = _model(formula, data, nagq, family=family or usual, link=link, weights=weights, se=se, residual=residual)
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
        found["bayes"] = _sample(model, seed, draws, tune, chains)
    if as_json:
        typer.echo(json.dumps(_as_json(model, source, found), indent=2, allow_nan=False))
    else:
        _print_estimates(model, found, nagq)


@app.command(epilog="Example: hierbayes data sleepstudy --output sleepstudy.csv")
def data(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set to show.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the whole data set as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the example data sets, show one, or write it as CSV."""
    from hierbayes.datasets import list_data, load_data

    listing = list_data()
    if name is None:
        if output is not None:
            raise typer.BadParameter("name the data set to write", param_hint="--output")
        if as_json:
            typer.echo(listing.to_json(orient="records", indent=2, force_ascii=False))
        else:
            shown = listing[["name", "rows", "access", "columns", "description"]].astype(str)
            shown["columns"] = shown["columns"].str.replace(",", ", ")
            _print_table(shown, wrap=("columns", "description"))
        return
    frame = load_data(name)
    if output is not None:
        from hierbayes.output import make_folder, write_whole

        make_folder(output)
        typer.echo(f"wrote {write_whole(output, frame.to_csv(index=False))}")
        return
    about = listing[listing["name"] == name].iloc[0]
    if as_json:
        head = json.loads(frame.head(10).to_json(orient="records"))
        typer.echo(json.dumps({**json.loads(about.to_json()), "head": head}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{about['description']}.\nSource: {about['source']}.\nLicence: {about['licence']}.\n")
    _print_table(frame.head(10).astype(str))
    typer.echo(f"{min(10, len(frame))} of {len(frame)} rows")


def _read(source: str, formula: str | None) -> tuple[pd.DataFrame, str, str, str]:
    """Data, formula, the family that goes with it, and a short name, after the formula has been found to exist."""
    from hierbayes.datasets.formulas import default_family, default_formula
    from hierbayes.datasets.registry import REGISTRY
    from hierbayes.datasets.sources import find_data
    from hierbayes.errors import FormulaError

    family = "gaussian"
    if source in REGISTRY:
        usual = default_formula(source)
        formula = usual if formula is None else formula
        family = default_family(source) if _left(formula) == _left(usual) else family
    frame, stem = find_data(source)
    if formula is None:
        raise FormulaError(
            f"A CSV file needs a formula; add one such as 'y ~ x + (1 | group)' with columns of {source}: "
            f"{', '.join(map(str, frame.columns))}."
        )
    return frame, formula, family, stem


def _left(formula: str) -> str:
    """The response of a formula, without spaces."""
    return "".join(formula.split("~")[0].split())


def _model(formula: str, frame: pd.DataFrame, nagq: int, **more: str | None) -> Model:
    """Make the model, out of sight of the names of this module.

    A formula may use names of the frame that calls `Model`. Here that must be none, so that a column which
    does not exist is never taken for a function of this file; hence a frame with names that no formula has.
    """
    with _status("loading"):
        from hierbayes.model import Model
    with _status("reading the formula"):
        model = eval("_(*__, **___)", {"_": Model, "__": (formula, frame), "___": more})
    if nagq != 1 and model.family.exact:
        raise typer.BadParameter("the likelihood of a Gaussian response is exact", param_hint="'--nagq'")
    return model


def _sample(model: Model, seed: int | None, draws: int, tune: int, chains: int) -> Fit | FamilyFit:
    """Draw the whole posterior, with a progress bar where somebody is watching.

    An interrupted command leaves nothing behind: there is nobody to look at half a posterior.
    """
    if model.family.exact:
        with _status("preparing the sampler"):
            _ = model.marginal
    with _progress_bar() as callback, warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteWarning)
        try:
            return model.fit(draws=draws, tune=tune, chains=chains, seed=seed, progress=False, callback=callback)
        except IncompleteWarning:
            raise KeyboardInterrupt from None


@contextmanager
def _status(text: str) -> Iterator[None]:
    """A spinner on stderr; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def _progress_bar() -> Iterator[Callable[[Any], None] | None]:
    """A progress bar on stderr and the callback that drives it; None where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("draws", total=None)

        def callback(chains: Any) -> None:
            divergences = sum(chain.divergences for chain in chains)
            progress.update(
                task,
                total=sum(chain.total_draws for chain in chains),
                completed=sum(chain.finished_draws for chain in chains),
                description=f"draws, {divergences} divergent" if divergences else "draws",
            )

        yield callback


def _as_json(model: Model, source: str, found: dict[str, Any]) -> dict[str, Any]:
    """The results of `fit` as plain values."""
    design = model.design
    made: dict[str, Any] = {
        "formula": design.formula,
        "family": design.family.name,
        "link": design.family.link,
        "data": source,
        "rows": design.n,
        "rows_dropped": design.n_dropped,
        "levels": {factor.name: len(factor.levels) for factor in design.factors},
    }
    if design.residual is not None:
        made["residual"] = design.residual.text
    if design.event is not None:
        made["event"] = design.event
    for method, result in found.items():
        made[method] = {"estimates": _records(result.tidy())}
        if method == "bayes":
            convergence = result.convergence
            made[method] |= {
                "seed": result.idata.attrs["seed"],
                "divergences": convergence.divergences,
                "problems": list(convergence.problems),
                "diagnostics": _records(convergence.table.rename_axis("parameter").reset_index()),
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


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; what is missing or infinite becomes null."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def _print_estimates(model: Model, found: dict[str, Any], nagq: int) -> None:
    """Estimates of one or two methods in one table."""
    import pandas as pd

    from hierbayes.estimates import RESIDUAL
    from hierbayes.names import RHO
    from hierbayes.report.method import laplace
    from hierbayes.report.numbers import places, show

    exact = model.family.exact
    tables = [result.tidy() for result in found.values()]
    titles = {"reml": "REML", "ml": "ML", "bayes": "posterior"}
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
        names += [f"{titles[method]}\n{name}" for name in (*middle, "2.5%", "97.5%")]
    design = model.design
    typer.echo(design.formula)
    about = [design.size]
    if design.residual is not None:
        about.append(f"residuals {design.residual.text}")
    if not exact:
        about.append(f"family {design.family}")
    typer.echo(", ".join(about))
    _print_table(pd.DataFrame(rows, columns=names), numbers_from=2)
    for method, result in found.items():
        if method == "bayes":
            verdict = "converged" if result.convergence.ok else " ".join(result.convergence.problems)
            typer.echo(f"posterior: 95% equal-tailed intervals; seed {result.idata.attrs['seed']}; {verdict}")
        else:
            how = "95% Wald intervals"
            how += ", of fixed effects with Satterthwaite's degrees of freedom" if exact else ""
            title = titles[method] if exact else laplace(nagq).name
            typer.echo(f"{title}: {how}; criterion {result.criterion:.4f}; {result.message}")


def _print_table(table: pd.DataFrame, wrap: tuple[str, ...] = (), numbers_from: int | None = None) -> None:
    """A data frame of texts on stdout; `wrap` names the columns that may take several lines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=160 if wrap else 1000)
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, name in enumerate(table.columns):
        right = numbers_from is not None and k >= numbers_from
        drawn.add_column(Text(str(name)), justify="right" if right else "left", no_wrap=name not in wrap)
    for row in table.itertuples(index=False):
        drawn.add_row(*(Text(str(value)) for value in row))
    console.print(drawn)
