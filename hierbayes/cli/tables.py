"""Tables on stdout, as wide as the terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

WIDE = 160
"""Columns of text where there is no terminal, for tables with sentences; others are as wide as they are."""
ENDLESS = 10_000
BETWEEN = 3
"""Blanks between columns."""
NARROW = 24
"""Least width of a column whose texts may take several lines."""


def print_table(
    table: pd.DataFrame, wrap: Sequence[str] = (), numbers_from: int | None = None, pack: int = 1
) -> None:
    """Print a table of texts.

    Parameters
    ----------
    table : pandas.DataFrame
    wrap : sequence of str
        Columns that may take several lines.
    numbers_from : int, optional
        Number of the first column that is set flush right. Where a table is too wide for the terminal it goes on
        below, and the columns before the numbers come again.
    pack : int, default 1
        So many columns of numbers stay side by side.
    """
    console = _console(WIDE if wrap else ENDLESS)
    for columns in _parts(table, wrap, numbers_from, pack, console.width):
        drawn = _drawn(
            table.iloc[:, columns], wrap, [numbers_from is not None and k >= numbers_from for k in columns]
        )
        with console.capture() as text:
            console.print(drawn)
        typer.echo(text.get(), nl=False)


def _console(width: int) -> Console:
    """Stdout, as wide as the terminal or so many columns."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=width)


def width() -> int:
    """Columns of text that a line has."""
    return _console(WIDE).width


def _parts(
    table: pd.DataFrame, wrap: Sequence[str], numbers_from: int | None, pack: int, width: int
) -> list[list[int]]:
    """Numbers of the columns that are printed beside one another: as many as fit."""
    if numbers_from is None:
        return [list(range(table.shape[1]))]
    labels = list(range(numbers_from))
    parts, part = [], labels
    for start in range(numbers_from, table.shape[1], pack):
        more = list(range(start, min(start + pack, table.shape[1])))
        if part != labels and _least(table.iloc[:, part + more], wrap) > width:
            parts.append(part)
            part = labels
        part = part + more
    return [*parts, part]


def _least(table: pd.DataFrame, wrap: Sequence[str]) -> int:
    """Least width of a table."""
    total = 0
    for k, name in enumerate(map(str, table.columns)):
        longest = max(map(len, [*name.split("\n"), *table.iloc[:, k].astype(str)]))
        total += (min(longest, NARROW) if name in wrap else longest) + BETWEEN
    return total


def _drawn(table: pd.DataFrame, wrap: Sequence[str], right: Sequence[bool]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, flush_right in zip(table.columns, right, strict=True):
        drawn.add_column(Text(str(name)), justify="right" if flush_right else "left", no_wrap=name not in wrap)
    for row in table.itertuples(index=False):
        drawn.add_row(*(Text(str(value)) for value in row))
    return drawn


def print_findings(rows: Sequence[tuple[Any, ...]], colours: Sequence[str] = ()) -> None:
    """Print rows of which the last cell is a sentence or more, without a heading.

    Parameters
    ----------
    rows : sequence of tuple of str
    colours : sequence of str
        Of the first cell of each row, where the terminal has colours.
    """
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    grid = Table.grid(padding=(0, 2))
    for k in range(len(rows[0])):
        grid.add_column(no_wrap=k < len(rows[0]) - 1)
    for k, (first, *others) in enumerate(rows):
        grid.add_row(Text(str(first), style=colours[k] if colours else ""), *(Text(str(cell)) for cell in others))
    console = _console(WIDE)
    with console.capture() as text:
        console.print(grid)
    typer.echo("\n".join(line.rstrip() for line in text.get().splitlines()))


def print_paragraphs(texts: Iterable[str]) -> None:
    """Print sentences, one a line, or with a hanging indent where there is a terminal.

    Parameters
    ----------
    texts : iterable of str
    """
    for text in texts:
        if sys.stdout.isatty():
            text = textwrap.fill(
                text, width(), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            )
        typer.echo(text)
