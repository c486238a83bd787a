"""A table of a section as plain values, for the macro of that name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def grid(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = (), severity: int = -1
) -> dict[str, Any]:
    """Columns, rows of text, and places of numbers and of a severity.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of sequences of str
        The first cell names the row.
    numeric : sequence of int
        Places of the columns of numbers.
    severity : int
        Place of the column of severities; -1 if there is none.

    Returns
    -------
    dict
    """
    return {
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "numeric": list(numeric),
        "severity": severity,
    }
