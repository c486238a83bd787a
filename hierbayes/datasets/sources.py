"""Data by name or from a CSV file of the user's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import DataError, DatasetError, suggest
from . import load_data
from .registry import REGISTRY

SNIFF = 8192
"""Bytes in which a zero byte says that this is no text."""
COMPRESSED = {".gz", ".bz2", ".zip", ".xz", ".zst"}


def find_data(name: str) -> tuple[pd.DataFrame, str]:
    """Load an example data set, or read a CSV file.

    Parameters
    ----------
    name : str
        Name of a data set, or path of a file.

    Returns
    -------
    data : pandas.DataFrame
    stem : str
        A short name for it: that of the data set, or of the file without its ending.

    Raises
    ------
    DatasetError
        If it is neither a data set nor a file.
    DataError
        If the file cannot be read.
    """
    if name in REGISTRY:
        return load_data(name), name
    path = Path(name)
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        raise DatasetError(f"There is no data set and no file {name!r}. {suggest(name, REGISTRY)}")
    return read_csv(path), path.name.split(".")[0] or path.name


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV file with a header line and columns separated by commas.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    DataError
        If there is no such file, or if it is not a table.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a CSV file in it.")
    try:
        with path.open("rb") as file:
            binary = path.suffix not in COMPRESSED and b"\0" in file.read(SNIFF)
        if binary:
            raise UnicodeError
        data = pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; it needs a line with column names and one line per observation.") from None
    except UnicodeError:
        raise DataError(f"{path} is not a text file in UTF-8; save the table as CSV.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except (ValueError, EOFError) as error:  # pandas' ParserError among them
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ").rstrip(".")
        raise DataError(
            f"{path} is not a CSV file with as many values as columns in every line: {reason}."
        ) from error
    if data.shape[1] < 2:
        raise DataError(
            f"{path} has one column only, {str(data.columns[0])!r}; separate the columns by commas and name them in "
            "the first line."
        )
    return data
