r"""Centring inside formulas: what a predictor is within its group, and the mean of its group.

With x̄_j the mean of x over the rows of group j that were fitted,

    within(x, g) = x_ij - x̄_j,        between(x, g) = x̄_j,        within(x, g) + between(x, g) = x.

The coefficient of the first is the effect of a row being above the mean of its group, that of the second the effect
of the group's mean being higher; their difference, between less within, is the contextual effect (Mundlak 1978,
Econometrica 46, 69; Snijders & Bosker 2012, Multilevel Analysis, section 4.6; Bell & Jones 2015, Political Science
Research and Methods 3, 133). ``between`` is the plain mean, as there: less the grand mean, ``center(between(x, g))``,
only the intercept changes. Grand-mean centring alone is ``center(x)``, which formulae has: it moves the intercept and
leaves the two effects mixed.

Both remember, as ``scale(x)`` and ``center(x)`` do: in rows that were not fitted a group that was fitted keeps its
mean, and a group that was not takes the mean of its own new rows, which are then all that is known of it. Several
columns are one grouping factor, their combinations: ``within(x, school, class)``.

A function of the caller's own called ``within`` or ``between`` goes first, and so does a column of that name that is
not called.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError
from hierbayes.from_bambi.labels import kind_of, labels_as_fitted

APART = "\x1f"
"""Between the labels of several columns."""


class GroupMeans:
    """Means of a variable over groups, learned at the first call; formulae makes one object per term."""

    __stateful_transform__ = True
    name = "between"

    def __init__(self) -> None:
        self._fitted: pd.Series | None = None
        self._columns: list[tuple[Any, frozenset[str]]] = []

    def means(self, x: Any, groups: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Values of x and the mean of the group of each row.

        Parameters
        ----------
        x : (n,) array or pandas.Series
            Numbers, or truth values as 0 and 1.
        groups : tuple of (n,) array or pandas.Series
            At least one.

        Returns
        -------
        values, means : (n,) arrays

        Raises
        ------
        DataError
            If x is no numbers, or if there is no group.
        """
        if not groups:
            raise DataError(f"{self.name}() needs a variable and a grouping column: {self.name}(x, group).")
        if not pd.api.types.is_numeric_dtype(x):
            raise DataError(
                f"{self.name}() needs numbers; of a category write its indicator, {self.name}(x == 'label', group)."
            )
        values = np.asarray(x, dtype=float)
        if values.ndim != 1:
            raise DataError(f"{self.name}() needs one number a row, not an array of shape {values.shape}.")
        columns = [group if isinstance(group, pd.Series) else pd.Series(np.asarray(group)) for group in groups]
        if any(len(column) != len(values) for column in columns):
            raise DataError(f"{self.name}() needs a group for every row; name a column of the data.")
        first = self._fitted is None
        if first:
            self._columns = [(column.dtype, _texts(column)) for column in columns]
        keys = pd.Series([""] * len(values), dtype=object)
        for column, (dtype, text) in zip(columns, self._columns, strict=True):
            keys = keys + APART + pd.Series(labels_as_fitted(column, dtype, text), dtype=object)
        own = pd.Series(values).groupby(keys.to_numpy()).mean()
        if first:
            self._fitted = own
        assert self._fitted is not None
        known = keys.map(self._fitted)
        return values, known.where(known.notna(), keys.map(own)).to_numpy(dtype=float)


class Within(GroupMeans):
    """``within(x, g)``: a variable less the mean of its group; see the head of this file.

    Examples
    --------
    >>> import numpy as np
    >>> within = Within()
    >>> within(np.array([1.0, 3.0, 7.0]), np.array(["a", "a", "b"]))
    array([-1.,  1.,  0.])
    >>> within(np.array([5.0, 5.0, 7.0]), np.array(["a", "c", "c"]))  # new rows: a is known, c is not
    array([ 3., -1.,  1.])
    """

    name = "within"

    def __call__(self, x: Any, *groups: Any) -> np.ndarray:
        """Center (n,) values; the first call learns the means."""
        values, means = self.means(x, groups)
        return values - means


class Between(GroupMeans):
    """``between(x, g)``: the mean of the group; see the head of this file.

    Examples
    --------
    >>> import numpy as np
    >>> Between()(np.array([1.0, 3.0, 7.0]), np.array(["a", "a", "b"]))
    array([2., 2., 7.])
    """

    def __call__(self, x: Any, *groups: Any) -> np.ndarray:
        """Mean of the group of each of (n,) values; the first call learns the means."""
        return self.means(x, groups)[1]


def _texts(column: pd.Series) -> frozenset[str]:
    """The labels of a column of text."""
    if not pd.api.types.is_string_dtype(kind_of(column.dtype)):
        return frozenset()
    return frozenset(column.astype(object).map(str))
