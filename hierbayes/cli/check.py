"""``hierbayes check``: what is wrong with a model, the gravest first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hierbayes.cli.exits import FOUND
from hierbayes.cli.fit import Method, about, estimate, estimation, heading, parts_of
from hierbayes.cli.options import AsJson, Formula, ModelOptions, PosteriorOptions, Source
from hierbayes.cli.reading import read
from hierbayes.cli.tables import print_findings
from hierbayes.cli.values import print_json
from hierbayes.cli.waiting import status

COLOURS = {"problem": "bold red", "warning": "bold yellow", "note": "cyan", "ok": "green"}


def check(
    source: Source,
    model: ModelOptions,
    posterior: PosteriorOptions,
    formula: Formula = None,
    method: Annotated[
        Method, typer.Option(help="What to check; both is REML (ML for other families) and the posterior.")
    ] = Method.both,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", metavar="", help="End with 0 whatever is found.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check a model or a saved fit, and say what to do; ends with 1 if something is a problem."""
    subject = read(source, [formula], model, estimation(model, method, posterior))
    fits = parts_of(next(iter(subject.fits.values()))) if subject.fits else {}
    if not fits:
        fits = estimate(subject.first, method, model.nagq, posterior)
    if "bayes" in fits and subject.first.family.exact:
        fits = {"bayes": fits["bayes"]}  # whose check has that of the REML fit
    checks = {}
    for name, fit in fits.items():
        with status("checking"):
            checks[name] = fit.check()
    worst = max((found.worst for found in checks.values()), key=list(reversed(COLOURS)).index)
    if as_json:
        findings = [{"of": name, **row} for name, found in checks.items() for row in _rows(found)]
        print_json(about(subject.first) | {"data": source, "worst": worst, "findings": findings})
    else:
        typer.echo(f"{heading(subject.first)}\n")
        for found in checks.values():
            typer.echo(found.headline)
            rows = _rows(found)
            texts = [row["finding"] + (f"\n→ {row['next']}" if row["next"] else "") for row in rows]
            print_findings(
                [(row["severity"], row["topic"], text) for row, text in zip(rows, texts, strict=True)],
                [COLOURS[row["severity"]] for row in rows],
            )
    return FOUND if worst == "problem" and not exit_zero else 0


def _rows(check: Any) -> list[dict[str, Any]]:
    """Findings, the gravest first."""
    table = check.findings
    order = table["severity"].map(list(COLOURS).index).sort_values(kind="stable").index
    return table.loc[order].to_dict(orient="records")
