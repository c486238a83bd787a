"""Data frames as Parquet, every column as it was.

Parquet has most types of pandas. What it has not (categories that are not texts, columns of mixed objects) is written
as categories with texts for labels, which other programs can read, beside a note of what they stand for.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.errors import DataError
from hierbayes.plain import from_plain, to_plain
from hierbayes.store.fingerprint import fingerprints

LABELS = "(row)"
"""Column of the labels of the rows."""


def to_parquet(data: pd.DataFrame) -> tuple[bytes, dict[str, Any]]:
    """Write a data frame.

    Parameters
    ----------
    data : pandas.DataFrame
        Its index is not written.

    Returns
    -------
    content : bytes
    notes : dict
        For each column what `from_parquet` must know.

    Raises
    ------
    DataError
        If a column would not come back as it is; the message names it.
    """
    columns, notes = {}, {}
    for name in data.columns:
        try:
            columns[name], notes[name] = _written(data[name])
        except TypeError as error:
            raise _unsaved(name, f"holds objects of type {error}") from error
    content = _write(pd.DataFrame(columns, index=pd.RangeIndex(len(data))))
    back, wanted = from_parquet(content, notes), fingerprints(data)
    for name, found in fingerprints(back).items():
        if found != wanted[name] or not _same(back[name].dtype, data[name].dtype):
            raise _unsaved(name, f"of type {data[name].dtype} does not survive in a file")
    return content, notes


def from_parquet(content: bytes, notes: dict[str, Any]) -> pd.DataFrame:
    """Read what `to_parquet` wrote."""
    import pyarrow.parquet as pq

    stored = pq.read_table(io.BytesIO(content)).to_pandas()
    return pd.DataFrame({name: _read(stored[name], note) for name, note in notes.items()}, index=stored.index)


def _write(frame: pd.DataFrame) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in frame.columns:
        try:
            pa.Array.from_pandas(frame[name])
        except (pa.ArrowException, NotImplementedError) as error:
            raise _unsaved(name, f"of type {frame[name].dtype} does not fit into a Parquet file") from error
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()


def _same(one: Any, other: Any) -> bool:
    """Whether two types are the same; pandas has several that hold nothing but texts."""
    texts = isinstance(one, pd.StringDtype) and pd.api.types.is_string_dtype(other)
    return texts or str(one) == str(other)


def _unsaved(name: str, why: str) -> DataError:
    what = "The index of the data" if name == LABELS else f"Column {name!r}"
    return DataError(
        f"{what} {why}; convert it to numbers, text or categories before fitting, or save with data=False."
    )


def _written(column: pd.Series) -> tuple[Any, dict[str, Any]]:
    """What goes into the file for a column, and the note beside it."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        known = list(dtype.categories)
        note = {"categories": to_plain(known), "of": str(dtype.categories.dtype), "ordered": bool(dtype.ordered)}
        return pd.Categorical.from_codes(column.cat.codes, _labels(known), ordered=bool(dtype.ordered)), note
    if isinstance(dtype, pd.SparseDtype):
        return np.asarray(column), {"dtype": str(dtype)}
    if pd.api.types.is_object_dtype(dtype) and not all(isinstance(value, str) for value in column):
        places: dict[tuple[str, Any], int] = {}
        codes = [places.setdefault((type(value).__name__, value), len(places)) for value in column]
        known = [value for _, value in places]
        return pd.Categorical.from_codes(codes, _labels(known)), {"objects": to_plain(known)}
    return column.array, {"dtype": str(dtype)}


def _labels(known: list[Any]) -> list[str]:
    """Texts for categories, all different."""
    texts = [str(value) for value in known]
    return texts if len(set(texts)) == len(texts) else [f"{text} ({k})" for k, text in enumerate(texts)]


def _read(stored: pd.Series, note: dict[str, Any]) -> Any:
    """A column as it was."""
    if "categories" in note:
        known = pd.Index(from_plain(note["categories"]), dtype=note["of"])
        return pd.Categorical.from_codes(stored.cat.codes, known, ordered=note["ordered"])
    if "objects" in note:
        known = np.fromiter(from_plain(note["objects"]), dtype=object)
        return pd.Series(known[stored.cat.codes.to_numpy()], dtype=object)
    return stored if str(stored.dtype) == note["dtype"] else stored.astype(note["dtype"])
