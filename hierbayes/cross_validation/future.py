"""Which rows are the future: the time of every row, and the cuts up to which rows are known."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hierbayes import series
from hierbayes.design import Design
from hierbayes.errors import DataError, HierbayesError, suggest
from hierbayes.estimates import Posterior

FUTURE = "future"
"""What is predicted, as `hierbayes.compare` names it."""


@dataclass(frozen=True)
class Future:
    """Times of the rows, and where they are cut.

    Parameters
    ----------
    codes : (n,) int array
        Position of the time of each row among the distinct times.
    labels : (times,) array
        The distinct times, in order.
    cuts : (cuts,) int array
        Positions of the times up to which rows are known.
    horizon : int
        How many distinct times are predicted at each cut.
    """

    codes: np.ndarray
    labels: np.ndarray
    cuts: np.ndarray
    horizon: int

    def after(self, position: int) -> np.ndarray:
        """Rows later than a time."""
        return np.flatnonzero(self.codes > position)

    def rows(self, cut: int) -> np.ndarray:
        """Rows that are predicted at a cut."""
        return np.flatnonzero((self.codes > cut) & (self.codes <= cut + self.horizon))


def times(fit: Posterior, time: str | ArrayLike | None = None) -> pd.Series:
    """Time of every row used.

    Parameters
    ----------
    fit : Posterior
    time : str or array, optional
        A column that the model uses, or one time a row; by default that of ``residual="ar1(time | g)"``. A Series
        belongs to the rows by its index, if that is one of the data; everything else by position.

    Returns
    -------
    (n,) pandas.Series

    Raises
    ------
    HierbayesError
        If there is no time.
    DataError
        If it is no column that the model uses, if times are missing, or text, or if an index has only some of the
        rows.
    ValueError
        If there is not one time a row.
    """
    design, specification = fit.design, getattr(fit, "specification", None)
    if time is None:
        if (own := own_times(fit)) is None:
            raise HierbayesError(
                "Which rows are the future? Name a column of times, fit.lfo('time'), or give one time a row, "
                "fit.lfo(data['time']); only residual='ar1(time | g)' has one of its own."
            )
        found, called = own, "the residuals"
    elif isinstance(time, str):
        columns = [] if specification is None else [str(name) for name in specification.data.columns]
        if time not in columns:
            raise DataError(
                f"{time!r} is not a column that the model uses; give the times themselves, "
                f"fit.lfo(data[{time!r}]). {suggest(time, columns)}"
            )
        assert specification is not None
        found, called = specification.data[time], f"the column {time!r}"
    else:
        found, called = _of_rows(design, time), "time="
    found = found.reset_index(drop=True).infer_objects()
    if found.dtype == object and pd.api.types.infer_dtype(found) == "date":
        found = pd.to_datetime(found)
    if missing := int(found.isna().sum()):
        raise DataError(f"{missing} of {design.n} rows have no time in {called}; leave them out of the model.")
    ordered = isinstance(found.dtype, pd.CategoricalDtype) and found.dtype.ordered
    if not (
        ordered or pd.api.types.is_numeric_dtype(found) or isinstance(found.dtype, pd.PeriodDtype) or _is_date(found)
    ):
        raise DataError(f"The times in {called} must be numbers, dates or ordered categories, not {found.dtype}.")
    return found


def own_times(fit: Posterior) -> pd.Series | None:
    """Times of AR(1) residuals: their column, or the place of each row in its series; None for other residuals."""
    residual, specification = fit.design.residual, getattr(fit, "specification", None)
    if residual is None or residual.kind != "ar1":
        return None
    column = series.parse(residual.text).time
    if column is None:
        return pd.Series(residual.time)
    return None if specification is None else specification.data[column].reset_index(drop=True)


def _is_date(column: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)


def _of_rows(design: Design, values: ArrayLike) -> pd.Series:
    """One value for every row used: by index where that is one of the data, else by position."""
    if isinstance(values, pd.DataFrame) and values.shape[1] == 1:
        values = values.iloc[:, 0]
    if isinstance(values, pd.Series):
        column = values
        if design.row_labels is not None and (aligned := _aligned(column, pd.Index(design.row_labels))) is not None:
            return aligned
    else:
        whole = isinstance(values, (pd.api.extensions.ExtensionArray, pd.Index, list, tuple))
        if (dims := np.ndim(values)) != 1:
            raise ValueError(f"time= needs one time for each of the {design.n} rows used, not {dims} dimensions")
        column = pd.Series(values if whole else np.asarray(values))
    if len(column) != design.n:
        raise ValueError(f"time= needs one time for each of the {design.n} rows used, not {len(column)}")
    return column


def _aligned(column: pd.Series, rows: pd.Index) -> pd.Series | None:
    """The values of the rows used, None if they can only go by position."""
    index = column.index
    if index.is_unique and rows.is_unique and rows.isin(index).all():
        return column.reindex(rows)
    if index.equals(rows) or not index.isin(rows).any():
        return None
    twice = not (index.is_unique and rows.is_unique)
    why = "names some rows twice" if twice else f"has only {rows.isin(index).sum()} of the {len(rows)} rows used"
    raise DataError(
        f"The index of time= {why}, so that it does not say which time belongs to which row; give times in the "
        "order of the rows used without their index, as time.to_numpy()."
    )


def cut(column: pd.Series, start: Any = None, horizon: int = 1) -> Future:
    """Cut times into what is known and what is predicted.

    Parameters
    ----------
    column : (n,) pandas.Series
        Time of every row.
    start : time, optional
        The first cut is the first time that is not before it; by default the middle one of the distinct times.
    horizon : int, default 1
        How many distinct times to predict at each cut.

    Returns
    -------
    Future

    Raises
    ------
    ValueError
        If `horizon` is no whole number, if `start` is missing or cannot be compared with the times, or if too few
        of them come after it.

    Examples
    --------
    >>> cut(pd.Series([1, 2, 2, 5, 6]), start=2)
    Future(codes=array([0, 1, 1, 2, 3]), labels=array([1, 2, 5, 6]), cuts=array([1, 2]), horizon=1)
    """
    if not (isinstance(horizon, (int, np.integer)) and horizon >= 1):
        raise ValueError(f"horizon must be a whole number of times to predict, not {horizon!r}")
    codes, labels = pd.factorize(column, sort=True)
    size = len(labels)
    first = (size - 1) // 2 if start is None else _before(labels, start)
    if isinstance(labels, pd.CategoricalIndex):
        labels = labels.remove_unused_categories()
    cuts = np.arange(first, size - horizon)
    if not len(cuts):
        begins = "" if start is None else f" from {start!r} on"
        raise ValueError(
            f"there are {size} distinct times, so that none{begins} has {horizon} after it to predict; give an "
            "earlier start= or a shorter horizon="
        )
    return Future(codes, np.asarray(labels), cuts, int(horizon))


def _before(labels: pd.Index, start: Any) -> int:
    """How many of the distinct times come before a time."""
    first = start
    try:
        if not pd.api.types.is_scalar(start) or pd.isna(start):
            raise TypeError
        if type(start) is datetime.date and isinstance(labels, pd.DatetimeIndex):
            first = pd.Timestamp(start, tz=labels.tz)
        elif isinstance(start, datetime.date) and isinstance(labels, pd.PeriodIndex):
            first = pd.Period(start, freq=labels.freq)
        return int(np.sum(np.asarray(labels < first)))
    except (TypeError, ValueError):
        raise ValueError(
            f"start must be a time like those of the rows, such as {labels.tolist()[0]!r}, not {start!r}"
        ) from None
