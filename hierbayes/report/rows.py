"""What a model knows of single rows beside predictors and groups: weight, standard error, offset, time."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import series
from hierbayes.design import Design

DAY = pd.Timedelta(1, "D")


@dataclass(frozen=True)
class RowFacts:
    """Columns of the data with the known quantities of a row.

    Parameters
    ----------
    weights : str or None
        Column of precision weights.
    se : str or None
        Column of known standard errors.
    offsets : tuple of str
        What stands inside ``offset()`` in the formula.
    time : str or None
        Column of the times of an AR(1) structure; None if it goes by the order of the rows.
    step : str
        Common spacing of these times, in words.
    """

    weights: str | None
    se: str | None
    offsets: tuple[str, ...]
    time: str | None
    step: str


def row_facts(design: Design, data: pd.DataFrame) -> RowFacts:
    """Find out which columns were given for weights, standard errors, offset and times.

    Parameters
    ----------
    design : Design
    data : pandas.DataFrame
        The rows used. What was given as an array is a column with a name in parentheses.

    Returns
    -------
    RowFacts
    """
    weights = se = time = None
    step = ""
    if design.weights is not None and design.sigma is None:
        weights = _column(design, data, design.weights, 1.0)
    elif design.weights is not None:
        se = _column(design, data, design.weights, -2.0)
    if design.residual is not None and design.residual.kind == "ar1":
        time = series.parse(design.residual.text).time
        if time is not None:
            step = _step((data[time].max() - data[time].min()) / int(np.ptp(design.residual.time)))
    return RowFacts(weights, se, offsets(design.formula), time, step)


def _column(design: Design, data: pd.DataFrame, values: np.ndarray, power: float) -> str | None:
    """The column that the weights were taken from; of equal ones, one that the formula does not mention."""
    same = [
        str(name)
        for name in data.columns
        if np.array_equal(pd.to_numeric(data[name], errors="coerce").to_numpy(dtype=float) ** power, values)
    ]
    return min(same, key=lambda name: mentions(design.formula, name), default=None)


def _step(step: float | pd.Timedelta) -> str:
    """A difference of times in words."""
    if not isinstance(step, pd.Timedelta):
        return f"{step:.6g}"
    days = step / DAY
    return f"{days:.6g} day{'' if days == 1 else 's'}" if days >= 1 else str(step)


def offsets(formula: str) -> tuple[str, ...]:
    """What stands inside ``offset()`` in a formula.

    Examples
    --------
    >>> offsets("y ~ x + offset(log(n + 1)) + (1 | g)")
    ('log(n + 1)',)
    """
    found = []
    for call in re.finditer(r"(?<!\w)offset\(", formula):
        depth, at = 1, call.end()
        while depth and at < len(formula):
            depth += {"(": 1, ")": -1}.get(formula[at], 0)
            at += 1
        found.append(formula[call.end() : at - 1].strip())
    return tuple(found)


def mentions(text: str, name: str) -> bool:
    """Whether a text has a name in it, as a whole word.

    Examples
    --------
    >>> mentions("np.log(x)", "x"), mentions("np.exp(y)", "x")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
