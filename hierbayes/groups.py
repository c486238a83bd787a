"""Integer codes of groups, with the order and the names of levels that Bambi gives them; sums and means by code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hierbayes.errors import DataError


def group_codes(rows: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the combinations of some columns that occur.

    Parameters
    ----------
    rows : pandas.DataFrame
    columns : sequence of str

    Returns
    -------
    codes : (n,) int array
    levels : (J,) array of str
        ``"a:b"`` for two columns.

    Raises
    ------
    DataError
        If two levels would have one name.

    Examples
    --------
    >>> import pandas as pd
    >>> codes, levels = group_codes(pd.DataFrame({"a": ["u", "v", "u"], "b": [1, 1, 2]}), ["a", "b"])
    >>> codes, levels
    (array([0, 2, 1]), array(['u:1', 'u:2', 'v:1'], dtype=object))
    """
    codes = np.zeros(len(rows), dtype=np.int64)
    labels = np.array([""], dtype=object)
    for name in columns:
        column = rows[name]
        if isinstance(column.dtype, pd.CategoricalDtype) and not column.dtype.ordered:
            column = column.astype(column.dtype.categories.dtype)
        part, values = pd.factorize(column, sort=True)
        if isinstance(values, pd.CategoricalIndex):
            values = values.astype(values.categories.dtype)
        labels = np.array([f"{a}:{b}" if a else str(b) for a in labels for b in values], dtype=object)
        codes, present = pd.factorize(codes * len(values) + part, sort=True)
        labels = labels[present]
    twice = pd.Index(labels).duplicated(keep=False)
    if twice.any():
        label = labels[twice][0]
        first = [int(np.flatnonzero(codes == code)[0]) for code in np.flatnonzero(labels == label)[:2]]
        one, other = (tuple(rows[list(columns)].iloc[row]) for row in first)
        raise DataError(
            f"The levels {one} and {other} of {':'.join(columns)!r} would both be called {label!r}; rename one of "
            f"them, for instance without colons: data[{columns[0]!r}].astype(str).str.replace(':', '.')."
        )
    return codes.astype(np.int64), labels


def level_sums(columns: np.ndarray, codes: np.ndarray, levels: int) -> np.ndarray:
    """Sums (J, k) of columns (n, k) by level."""
    return np.stack([np.bincount(codes, column, minlength=levels) for column in columns.T], axis=1)


def level_means(columns: np.ndarray, codes: np.ndarray, levels: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Means (J, k) of columns (n, k) by level, NaN for a level without rows.

    Examples
    --------
    >>> level_means(np.array([[1.0], [4.0], [7.0]]), np.array([0, 0, 1]), 2, np.array([2.0, 1.0, 1.0])).tolist()
    [[2.0], [7.0]]
    """
    weighted = columns if weights is None else columns * weights[:, None]
    with np.errstate(invalid="ignore"):
        return level_sums(weighted, codes, levels) / np.bincount(codes, weights, minlength=levels)[:, None]
