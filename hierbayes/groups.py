"""Integer codes of groups, with the order and the names of levels that Bambi gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


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
    return codes.astype(np.int64), labels
