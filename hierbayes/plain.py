"""Values as JSON and back, exactly.

What JSON has stays as it is; anything else becomes an object with one key that begins with ``$``. Floats survive
because Python writes the shortest decimal that reads back as the same number. `as_plain` is for readers that know
nothing of that: tables become lists of records, what is not finite null, and nothing comes back.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

SCALARS = {"timestamp": pd.Timestamp, "timedelta": pd.Timedelta}


def to_plain(value: Any) -> Any:
    """A value as JSON has it.

    Parameters
    ----------
    value : object
        Numbers, texts, truth values, None; numpy's scalars and arrays; dates and times, intervals and periods of
        pandas; lists, tuples, dicts and dataclasses of these.

    Returns
    -------
    None, bool, int, float, str, list or dict

    Raises
    ------
    TypeError
        For anything else; the message is the name of its type.

    Examples
    --------
    >>> to_plain({"a": (1, 0.1), "b": np.array([[1.5], [np.inf]])})
    {'a': {'$tuple': [1, 0.1]}, 'b': {'$array': [1.5, {'$float': 'inf'}], 'dtype': '<f8', 'shape': [2, 1]}}
    """
    if value is None or isinstance(value, (bool, np.bool_)):
        return {"$scalar": bool(value), "dtype": "?"} if isinstance(value, np.bool_) else value
    if isinstance(value, np.generic):
        return {"$scalar": to_plain(_item(value)), "dtype": value.dtype.str}
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [to_plain(item) for item in value]}
    if isinstance(value, np.ndarray):
        items = value.ravel() if value.dtype.hasobject else _item(value.ravel())
        return {"$array": [to_plain(item) for item in items], "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: to_plain(item) for key, item in value.items()}
        return {"$mapping": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        made = {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
        return {"$record": type(value).__name__, "fields": made}
    return _moment(value)


def _item(values: Any) -> Any:
    """Numpy's values as Python's, times as whole numbers of their unit."""
    return (values.astype(np.int64) if values.dtype.kind in "mM" else values).tolist()


def _moment(value: Any) -> dict[str, Any]:
    """Dates, times, intervals and periods."""
    if isinstance(value, (pd.Timestamp, pd.Timedelta)):
        about = {"unit": value.unit, "tz": None if isinstance(value, pd.Timedelta) else to_plain(_zone(value))}
        return {f"${type(value).__name__.lower()}": value.asm8.astype(np.int64).item(), **about}
    if isinstance(value, pd.Interval):
        return {"$interval": [to_plain(value.left), to_plain(value.right)], "closed": value.closed}
    if isinstance(value, pd.Period):
        return {"$period": value.ordinal, "freq": value.freqstr}
    if type(value) is datetime.date:
        return {"$date": value.isoformat()}
    raise TypeError(type(value).__name__)


def _zone(value: pd.Timestamp) -> str | None:
    return None if value.tz is None else str(value.tz)


def from_plain(value: Any, records: Mapping[str, type] | None = None) -> Any:
    """The inverse of `to_plain`.

    Parameters
    ----------
    value : object
    records : mapping of str to type, optional
        Dataclasses by their names.

    Returns
    -------
    object

    Raises
    ------
    KeyError
        For a kind of value that is not known.

    Examples
    --------
    >>> from_plain(to_plain({"a": (1, 0.1), "b": np.float32(0.1)}))
    {'a': (1, 0.1), 'b': np.float32(0.1)}
    """
    if isinstance(value, list):
        return [from_plain(item, records) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: from_plain(item, records) for key, item in value.items()}
    inner = value[tag]
    if tag == "$record":
        made = {name: from_plain(item, records) for name, item in value["fields"].items()}
        return (records or {})[inner](**made)
    inner = from_plain(inner, records)
    if tag in {"$timestamp", "$timedelta"}:
        moment = SCALARS[tag[1:]](inner, unit=value["unit"]).as_unit(value["unit"])
        return moment if value["tz"] is None else moment.tz_localize("UTC").tz_convert(value["tz"])
    return {
        "$scalar": lambda: np.array(inner).astype(value["dtype"])[()],
        "$float": lambda: float(inner),
        "$tuple": lambda: tuple(inner),
        "$array": lambda: _array(inner, value["dtype"], value["shape"]),
        "$mapping": lambda: dict(inner),
        "$interval": lambda: pd.Interval(*inner, closed=value["closed"]),
        "$period": lambda: pd.Period(ordinal=inner, freq=value["freq"]),
        "$date": lambda: datetime.date.fromisoformat(inner),
    }[tag]()


def _array(items: list, dtype: str, shape: list[int]) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.hasobject:
        return np.fromiter(items, dtype=object).reshape(shape)
    values = np.array(items, dtype=np.int64).astype(kind) if kind.kind in "mM" else np.array(items, dtype=kind)
    return values.reshape(shape)


def as_plain(value: Any) -> Any:
    """A value in what JSON has: tables become lists of records, what is not finite null, anything else its text.

    Parameters
    ----------
    value : object

    Returns
    -------
    None, bool, int, float, str, list or dict

    Examples
    --------
    >>> as_plain({"a": float("nan"), 2: (True, np.float64(1.5))})
    {'a': None, '2': [True, 1.5]}
    >>> as_plain(pd.DataFrame({"x": [1, 2]}, index=pd.Index(["p", "q"], name="g")))
    [{'g': 'p', 'x': 1}, {'g': 'q', 'x': 2}]
    """
    if isinstance(value, pd.Series):
        value = value.to_frame(value.name if value.name is not None else "value")
    if isinstance(value, pd.DataFrame):
        named = value if isinstance(value.index, pd.RangeIndex) else value.reset_index()
        columns = [".".join(map(str, name)).strip(".") if isinstance(name, tuple) else str(name) for name in named]
        rows = named.astype(object).itertuples(index=False, name=None)
        return [dict(zip(columns, map(as_plain, row), strict=True)) for row in rows]
    if is_dataclass(value) and not isinstance(value, type):
        return as_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (str, bool)) or value is None:
        return None if value is None else str(value) if isinstance(value, str) else value
    if isinstance(value, np.ndarray):
        return as_plain(value.tolist())
    if isinstance(value, (Sequence, set, frozenset)):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic):
        return as_plain(value.item())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return None if value is pd.NA or value is pd.NaT else str(value)
