"""The command line: arguments, files, progress, exit codes. The only package that prints.

One file a command. Whatever takes long to import is imported by the command that needs it, so that help and
completion come at once. Exit codes are those of `hierbayes.cli.exits`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from hierbayes.cli import check, cite, compare, data, fit, power, report, zoo
from hierbayes.cli.exits import BUG, EXIT_CODES, Commands
from hierbayes.cli.options import flat

app = typer.Typer(
    cls=Commands,
    help="Mixed models from one formula: the REML fit and the Bayesian posterior, side by side.",
    epilog=EXIT_CODES,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
EXAMPLES: dict[Callable[..., Any], str] = {
    report.report: """report sleepstudy --compare "Reaction ~ Days + (1 | Subject)\"""",
    fit.fit: """fit sleepstudy "Reaction ~ Days + (1 | Subject)" --method reml""",
    compare.compare: """compare Pastes "strength ~ 1 + (1 | batch)" "strength ~ 1 + (1 | batch/cask)\"""",
    check.check: """check Dyestuff2 --method reml""",
    power.power: """power "y ~ x + (1 | g)" --effect x=0.3 --sd g=0.5 --sigma 1 --groups 10,20,30 --rows 5 """
    """--within "x=norm()" --target 0.8""",
    data.data: """data sleepstudy --output sleepstudy.csv""",
    cite.cite: """cite sleepstudy --bibtex""",
}
"""Every command, and an example of it."""
ZOO_EXAMPLES: dict[Callable[..., Any], str] = {
    zoo.list_: "list",
    zoo.show: "show sleepstudy",
    zoo.run: "run dyestuff -o dyestuff.html",
    zoo.verify: "verify sleepstudy dyestuff",
    zoo.record: "record my_folder",
}
for command, example in EXAMPLES.items():
    app.command(epilog=f"Example: hierbayes {example}")(flat(command))
zoo_app = typer.Typer(no_args_is_help=True, help="Models worth knowing: list them, show one, run or verify them.")
for command, example in ZOO_EXAMPLES.items():
    name = command.__name__.rstrip("_")
    zoo_app.command(name, epilog=f"Example: hierbayes zoo {example}")(flat(command))
app.add_typer(zoo_app, name="zoo", epilog="Example: hierbayes zoo show sleepstudy")


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


def main() -> None:
    """Entry point of the ``hierbayes`` command."""
    try:
        app()
    except Exception:
        traceback.print_exc()
        sys.exit(BUG)
