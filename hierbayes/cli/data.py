"""``hierbayes data``: the example data sets."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hierbayes.cli import completion
from hierbayes.cli.options import AsJson
from hierbayes.cli.tables import print_table, width
from hierbayes.cli.values import print_json
from hierbayes.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10
"""Rows of a data set that are shown."""
ENDINGS = (".csv", ".parquet", ".feather")
"""Of the files that a data set is written to."""
ROOMY = 120
"""Columns of a terminal on which the names of all columns can be shown too."""


def data(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A data set to show.", autocompletion=completion.data_sets)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the whole data set: .csv, .parquet or .feather."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the example data sets, show one, or write it to a file."""
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
    if output is not None and output.suffix.lower() not in ENDINGS and not output.is_dir():
        raise typer.BadParameter(
            f"a data set is written as {', '.join(ENDINGS)}, not {output.name!r}", param_hint="'--output'"
        )
    frame = load_data(name)
    if output is not None:
        _write(frame, output)
        if as_json:
            print_json({"written": str(output), "rows": len(frame)})
        else:
            typer.echo(f"wrote {output}")
        return
    about = listing[listing["name"] == name].iloc[0]
    if as_json:
        print_json({**about.to_dict(), "head": frame.head(SHOWN)})
        return
    typer.echo(f"{about['description']}.\nSource: {about['source']}.\nLicence: {about['licence']}.\n")
    print_table(frame.head(SHOWN).astype(str), numbers_from=0)
    typer.echo(f"{min(SHOWN, len(frame))} of {len(frame)} rows")


def _write(frame: pd.DataFrame, output: Path) -> None:
    """Write a table by the ending of the file, over nothing but the same content.

    Raises
    ------
    OutputError
        If there is another file of that name.
    """
    from hierbayes.output import make_folder, whole_file

    content = BytesIO()
    if output.suffix.lower() == ".csv":
        content.write(frame.to_csv(index=False).encode())
    elif output.suffix.lower() == ".parquet":
        frame.to_parquet(content, index=False)
    else:
        frame.to_feather(content)
    if output.is_file() and output.read_bytes() != content.getvalue():
        raise OutputError(f"{output} is there already, with other content; name another file, or remove it.")
    make_folder(output)
    with whole_file(output) as file:
        file.write(content.getvalue())
