"""Columns of a data frame for tables that need no model: checked, complete, and counted where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from hierbayes.errors import DataError, RowsDropped, suggest


def complete_rows(data: pd.DataFrame, numbers: Sequence[str], groups: Sequence[str]) -> pd.DataFrame:
    """The rows in which none of some columns is missing.

    Parameters
    ----------
    data : pandas.DataFrame
    numbers : sequence of str
        Columns that must hold finite numbers.
    groups : sequence of str
        Columns of labels.

    Returns
    -------
    pandas.DataFrame
        These columns alone, numbers as floats, with a plain index.

    Raises
    ------
    DataError
        For unknown columns, text or infinite values where numbers are needed, or no complete row.

    Warns
    -----
    RowsDropped
        If rows have missing values.
    """
    if not isinstance(data, pd.DataFrame):
        raise DataError(f"data must be a pandas DataFrame, not {type(data).__name__}.")
    wanted = list(dict.fromkeys([*numbers, *groups]))
    for name in wanted:
        if name not in data.columns:
            raise DataError(f"{name!r} is not a column of the data. {suggest(str(name), map(str, data.columns))}")
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(data[name]):
            raise DataError(f"Column {name!r} is text, and numbers are needed; convert it to numbers.")
    rows = data[wanted].dropna()
    if len(rows) < len(data):
        columns = ", ".join(repr(name) for name in wanted if data[name].isna().any())
        warnings.warn(
            f"{len(data) - len(rows)} of {len(data)} rows have missing values in {columns} and were left out.",
            RowsDropped,
            stacklevel=3,
        )
    if not len(rows):
        raise DataError(f"No row is complete in {', '.join(map(repr, wanted))}.")
    rows = rows.astype(dict.fromkeys(numbers, float)).reset_index(drop=True)
    for name in numbers:
        if not np.isfinite(rows[name]).all():
            raise DataError(f"Column {name!r} has an infinite value; replace it or mark it as missing.")
    return rows
