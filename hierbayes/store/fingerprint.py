"""A fingerprint of data: the same for the same values, however they lie in memory and whichever pandas read them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd


def fingerprints(data: pd.DataFrame) -> dict[str, str]:
    """SHA-256 of every column: of its kind (whole numbers, numbers, text, categories, …) and its values in order.

    Parameters
    ----------
    data : pandas.DataFrame
        Without missing values.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> one = pd.DataFrame({"x": [1.0, 2.0], "g": ["a", "b"]})
    >>> other = pd.DataFrame({"x": np.array([1, 2], dtype="float32"), "g": pd.Series(["a", "b"], dtype=object)})
    >>> fingerprints(one) == fingerprints(other)
    True
    """
    found = {}
    for name in data.columns:
        digest = hashlib.sha256()
        for part in _parts(data[name]):
            digest.update(len(part).to_bytes(8, "little") + part)
        found[str(name)] = digest.hexdigest()
    return found


def fingerprint(data: pd.DataFrame) -> str:
    """SHA-256 of a whole data frame: of the names of its columns, their order and `fingerprints`."""
    return hashlib.sha256(json.dumps(list(fingerprints(data).items())).encode()).hexdigest()


def _parts(column: pd.Series) -> list[bytes]:
    """Kind and values of a column, as bytes."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = "ordered" if dtype.ordered else "categories"
        return [kind.encode(), *_parts(dtype.categories.to_series()), _numbers(column.cat.codes, "<i8")]
    if isinstance(dtype, pd.SparseDtype):
        return _parts(pd.Series(np.asarray(column)))
    if isinstance(dtype, pd.IntervalDtype):
        index = pd.IntervalIndex(column)
        return [index.closed.encode(), *_parts(index.left.to_series()), *_parts(index.right.to_series())]
    if isinstance(dtype, pd.PeriodDtype):
        return [str(dtype).encode(), _numbers(pd.PeriodIndex(column).asi8, "<i8")]
    if pd.api.types.is_bool_dtype(dtype):
        return [b"truth", _numbers(column.astype(bool), "|b1")]
    if pd.api.types.is_integer_dtype(dtype):
        wide = (
            "<u8"
            if pd.api.types.is_unsigned_integer_dtype(dtype) and (column > np.iinfo(np.int64).max).any()
            else "<i8"
        )
        return [b"whole", _numbers(column, wide)]
    if pd.api.types.is_float_dtype(dtype):
        return [b"number", _numbers(column, "<f8")]
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        index = pd.Index(column).as_unit("ns")
        return [b"time", str(getattr(index, "tz", None)).encode(), _numbers(index.asi8, "<i8")]
    return _texts(column)


def _numbers(values: pd.Series | np.ndarray, dtype: str) -> bytes:
    return np.ascontiguousarray(np.asarray(values).astype(dtype)).tobytes()


def _texts(column: pd.Series) -> list[bytes]:
    """Texts, or objects as texts with their types."""
    values = column.to_numpy(dtype=object)
    plain = all(isinstance(value, str) for value in values)
    if not plain:
        values = np.array([f"{type(value).__name__}: {value!r}" for value in values], dtype=object)
    codes, unique = pd.factorize(values)
    return [b"text" if plain else b"objects", json.dumps(list(unique)).encode(), _numbers(codes, "<i8")]
