"""More or fewer groups, or rows in a group, than a data frame has: whole groups of rows are used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError, suggest
from hierbayes.groups import group_codes

FEW = 6
"""A predictor between groups with so many values, or fewer, makes arms of a study."""


def extended(
    data: pd.DataFrame, factors: Sequence[Sequence[str]], groups: Mapping[str, int], rows: int | None
) -> pd.DataFrame:
    """A data frame with other numbers of groups, or of rows in each.

    The levels of a grouping column are used in the order of the data, and, if there are more than in the data, over
    again under new names; columns that are nested in it get new names as well. Where columns of few values, such as
    a treatment, are constant within levels, levels are taken from their combinations in proportion, so that the arms
    stay as balanced as they are. Then the rows of every combination of the grouping columns are used from the first
    on, and over again.

    Parameters
    ----------
    data : pandas.DataFrame
    factors : sequence of sequence of str
        The columns of every grouping factor.
    groups : mapping of str to int
        Levels wanted, by grouping column.
    rows : int or None
        Rows wanted of every combination of the levels of all grouping columns.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        For another grouping column.

    Examples
    --------
    >>> data = pd.DataFrame({"g": ["a", "a", "b"], "x": [1, 2, 3]})
    >>> extended(data, [["g"]], {"g": 3}, None).to_dict("list")
    {'g': ['a', 'a', 'b', 'a (2)', 'a (2)'], 'x': [1, 2, 3, 1, 2]}
    >>> extended(data, [["g"]], {}, 2)["x"].tolist()
    [1, 2, 3, 3]
    """
    columns = list(dict.fromkeys(column for factor in factors for column in factor))
    for name, wanted in groups.items():
        if name not in columns:
            raise DataError(f"{name!r} is no grouping column of the model. {suggest(name, columns)}")
        codes, levels = group_codes(data, [name])
        inside = [other for other in columns if other != name and _nested(data, other, codes)]
        parts = []
        order = _order(data.drop(columns=columns), codes)
        for k in range(wanted):
            part = data[codes == order[k % len(levels)]]
            copy = k // len(levels)
            if copy:
                part = part.assign(**{each: part[each].astype(str) + f" ({copy + 1})" for each in [name, *inside]})
            parts.append(part)
        data = pd.concat(
            [part.astype(dict.fromkeys([name, *inside], str)) if wanted > len(levels) else part for part in parts],
            ignore_index=True,
        )
    if rows is None:
        return data
    cells = group_codes(data, columns)[0]
    places = [np.resize(np.flatnonzero(cells == cell), rows) for cell in range(int(cells.max()) + 1)]
    return data.iloc[np.concatenate(places)].reset_index(drop=True)


def _order(data: pd.DataFrame, codes: np.ndarray) -> np.ndarray:
    """Levels so that the first of them have the combinations of predictors between levels in proportion."""
    order, first = pd.unique(codes), pd.Series(codes).drop_duplicates().index
    counts = data.groupby(codes).nunique(dropna=False)
    few = [
        name for name in data.columns
        if counts[name].max() == 1 and data[name].nunique(dropna=False) <= min(FEW, len(order) / 2)
    ]  # fmt: skip
    if not few:
        return order
    strata = data.iloc[first][few].groupby(few, sort=False, dropna=False, observed=True)
    share = (strata.cumcount().to_numpy() + 0.5) / strata[few[0]].transform("size").to_numpy()
    return order[np.argsort(share, kind="stable")]


def _nested(data: pd.DataFrame, column: str, codes: np.ndarray) -> bool:
    """Whether every level of a column occurs in one group only."""
    own = group_codes(data, [column])[0]
    return bool(pd.Series(codes).groupby(own).nunique().max() == 1)


def grouping_columns(design: Design) -> list[list[str]]:
    """The columns of every grouping factor, those of the residual correlation too."""
    found = [factor.name.split(":") for factor in design.groupings]
    series = [] if design.residual is None else [design.residual.name.split(":")]
    return found + [columns for columns in series if columns not in found]
