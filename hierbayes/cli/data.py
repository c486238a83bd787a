"""``hierbayes data``: the example data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hierbayes.cli import completion
from hierbayes.cli.options import AsJson
from hierbayes.cli.tables import print_table, width
from hierbayes.cli.values import print_json

SHOWN = 10
"""Rows of a data set that are shown."""
ROOMY = 120
"""Columns of a terminal on which the names of all columns can be shown too."""


def data(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A data set to show.", autocompletion=completion.data_sets)
    ] = None,
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
            print_json(listing)
        else:
            columns = ["name", "rows", "access", "columns", "description"]
            if width() < ROOMY:
                columns.remove("columns")
            shown = listing[columns].astype(str)
            if "columns" in shown:
                shown["columns"] = shown["columns"].str.replace(",", ", ")
            print_table(shown, wrap=("columns", "description"))
        return
    frame = load_data(name)
    if output is not None:
        from hierbayes.output import make_folder, write_whole

        make_folder(output)
        written = write_whole(output, frame.to_csv(index=False))
        if as_json:
            print_json({"written": str(written), "rows": len(frame)})
        else:
            typer.echo(f"wrote {written}")
        return
    about = listing[listing["name"] == name].iloc[0]
    if as_json:
        print_json({**about.to_dict(), "head": frame.head(SHOWN)})
        return
    typer.echo(f"{about['description']}.\nSource: {about['source']}.\nLicence: {about['licence']}.\n")
    print_table(frame.head(SHOWN).astype(str), numbers_from=0)
    typer.echo(f"{min(SHOWN, len(frame))} of {len(frame)} rows")
