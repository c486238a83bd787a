"""Labels of groups: values of new rows spelled as the same values were in the rows fitted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

WHOLE = 2.0**53
"""Whole numbers below it are exact in double precision."""


def kind_of(dtype: Any) -> Any:
    """The type of values of a column, that of its categories if it is categorical."""
    return dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype


def labels_as_fitted(column: pd.Series, fitted: Any, text: Collection[str]) -> np.ndarray:
    """Labels of the values of a column, where they are values of the type fitted spelled as those were.

    Parameters
    ----------
    column : pandas.Series
    fitted : dtype
        Of the column in the fit.
    text : collection of str
        Values that were fitted, if those are text.

    Returns
    -------
    (k,) array of str
    """
    types, fitted = pd.api.types, kind_of(fitted)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    column = column.infer_objects()
    labels = column.astype(object).map(str).to_numpy(dtype=object)
    numbers = types.is_numeric_dtype(column.dtype)
    if types.is_datetime64_any_dtype(fitted) and not numbers:
        dates = pd.to_datetime(pd.Series(labels), errors="coerce", format="mixed")
        return np.where(dates.isna(), labels, dates.astype(object).map(str))
    if not types.is_numeric_dtype(fitted) and not (numbers and types.is_string_dtype(fitted)):
        return labels
    found = column if numbers else pd.to_numeric(pd.Series(labels), errors="coerce")
    values = found.to_numpy(dtype=float)
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < WHOLE)
    integers = np.where(whole, values, 0.0).astype(np.int64)
    if types.is_bool_dtype(fitted):
        return np.where(whole & np.isin(integers, (0, 1)), (integers == 1).astype(str), labels)
    if types.is_integer_dtype(fitted):
        return np.where(whole, integers.astype(str), labels)
    if types.is_float_dtype(fitted):
        own = values.astype(getattr(fitted, "numpy_dtype", fitted))
        return np.where(own == values, own.astype(object).astype(str), labels)
    spelled = integers.astype(str).astype(object)  # 308.0, of a column with missing values, is the text 308
    return np.where(whole & ~np.isin(labels, list(text)), spelled, labels)
