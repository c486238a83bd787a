"""Data by name, or from a file of the user's own: CSV, Parquet or Feather.

What a binary file is, its first bytes say, whatever it is called; every other file is read as text.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, DatasetError, HierbayesWarning, suggest
from . import load_data
from .registry import REGISTRY

SNIFF = 8192
"""Bytes in which a zero byte says that this is no text."""
FEW = 0.1
"""A column of text in which fewer values than this share are no numbers was probably meant to be numbers."""
COMPRESSED = {".gz", ".bz2", ".zip", ".xz", ".zst"}
FORMATS = {b"PAR1": "Parquet", b"ARROW1": "Feather", b"FEA1": "Feather"}
"""First bytes of binary tables; Feather's second version is Arrow's file format."""
TAB = "tab"
STDIN = "-"
"""The name of the file that is piped in."""
OTHER_SEPARATORS = (";", "\t", "|")
READERS: dict[str, Callable[..., pd.DataFrame]] = {"Parquet": pd.read_parquet, "Feather": pd.read_feather}


@dataclass(frozen=True)
class File:
    r"""A file with a table, and how its text is to be read.

    Parameters
    ----------
    name : str
        Its path; ``"-"`` is what is piped in.
    separator : str, default ","
        Between the columns of a text file.
    decimal : str, default "."
        The decimal point of its numbers.

    Examples
    --------
    >>> File("umsatz.csv", separator=";", decimal=",").code
    'pd.read_csv("umsatz.csv", sep=";", decimal=",")'
    >>> File("umsatz.csv", separator=";").words
    ['umsatz.csv', '--separator', ';']
    >>> File("no such.parquet").code
    'pd.read_parquet("no such.parquet")'
    """

    name: str
    separator: str = ","
    decimal: str = "."

    def __str__(self) -> str:
        return self.name

    @property
    def format(self) -> str:
        """``"Parquet"``, ``"Feather"`` or ``"CSV"``: by its first bytes, or its ending if it is not there."""
        try:
            with Path(self.name).open("rb") as file:
                return format_of(file.read(SNIFF))
        except OSError:
            endings = {".parquet": "Parquet", ".pq": "Parquet", ".feather": "Feather", ".arrow": "Feather"}
            return endings.get(Path(self.name).suffix.lower(), "CSV")

    @property
    def code(self) -> str:
        """Python code that reads it as `read_table` does, with pandas as pd."""
        more = {} if self.format != "CSV" else self._unusual
        given = [_quoted(self.name), *(f"{name}={_quoted(value)}" for name, value in more.items())]
        if self.format == "CSV" and self._longer_lines:
            given.append("index_col=False")
        levels = _saved_levels(self.name) if self.format == "Parquet" else []
        columns = f".reset_index([{', '.join(map(_quoted, levels))}])" if levels else ""
        return f"pd.{READERS.get(self.format, pd.read_csv).__name__}({', '.join(given)}){columns}"

    @property
    def words(self) -> list[str]:
        """Arguments of the command line that read it."""
        options = {"sep": "--separator", "decimal": "--decimal"}
        return [self.name, *(word for name, mark in self._unusual.items() for word in (options[name], spelled(mark)))]

    @property
    def _longer_lines(self) -> bool:
        """Whether lines end with a separator and the first does not."""
        try:
            with Path(self.name).open(encoding="utf-8") as file:
                first, second = (file.readline().rstrip("\r\n") for _ in range(2))
        except (OSError, UnicodeError):
            return False
        return second.endswith(self.separator) and not first.endswith(self.separator)

    @property
    def _unusual(self) -> dict[str, str]:
        """Arguments of `pandas.read_csv` that are not its defaults."""
        usual = {"sep": (self.separator, ","), "decimal": (self.decimal, ".")}
        return {name: value for name, (value, default) in usual.items() if value != default}


def find_data(name: str | File) -> tuple[pd.DataFrame, str]:
    """Load an example data set, or read a file.

    Parameters
    ----------
    name : str or File
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
    file = name if isinstance(name, File) else File(name)
    if file.name in REGISTRY:
        return load_data(file.name), file.name
    if file.name == STDIN:
        return read_table(file), "stdin"
    path = Path(file.name)
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        raise DatasetError(f"There is no data set and no file {file.name!r}. {suggest(file.name, REGISTRY)}")
    return read_table(file), path.name.split(".")[0] or path.name


def read_table(file: str | Path | File, dtype: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a table: CSV with a header line (also compressed), Parquet or Feather.

    Parameters
    ----------
    file : str, pathlib.Path or File
    dtype : mapping of str to str, optional
        Types of columns of a text file that are not to be guessed, as of `pandas.read_csv`.

    Returns
    -------
    pandas.DataFrame
        Named levels of an index that pandas has saved are columns like any other.

    Raises
    ------
    DataError
        If there is no such file, or if it is not a table with a name for every column and at least one row.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "small.parquet")
    ...     pd.DataFrame({"y": [1.5, 2.5], "g": ["a", "b"]}).to_parquet(path)
    ...     read_table(path)
         y  g
    0  1.5  a
    1  2.5  b
    """
    file = file if isinstance(file, File) else File(str(file))
    _check_marks(file)
    called = "What is piped in" if file.name == STDIN else file.name
    try:
        start, content = _opened(file)
    except FileNotFoundError:
        raise DataError(f"There is no file {file}.") from None
    except IsADirectoryError:
        raise DataError(f"{file} is a folder; name a file in it, CSV, Parquet or Feather.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    found = format_of(start)
    data = _read_text(file, start, content, called, dtype) if found == "CSV" else _read_binary(found, content, called)
    if data.shape[1] < 2:
        raise DataError(_one_column(data, called, file) if found == "CSV" else f"{called} has one column only.")
    if data.empty:
        raise DataError(f"{called} has names of columns, but no rows.")
    return data


def spelled(mark: str) -> str:
    r"""A separator as the command line has it.

    Examples
    --------
    >>> spelled(";"), spelled("\t")
    (';', 'tab')
    """
    return {"\t": TAB}.get(mark, mark)


def format_of(start: bytes) -> str:
    """What the first bytes of a file say it is.

    Examples
    --------
    >>> format_of(b"PAR1..."), format_of(b"ARROW1.."), format_of(b"y,x,g")
    ('Parquet', 'Feather', 'CSV')
    """
    return next((name for bytes_, name in FORMATS.items() if start.startswith(bytes_)), "CSV")


def _check_marks(file: File) -> None:
    """Refuse what is no separator and no decimal point."""
    for what, mark in {"separator": file.separator, "decimal point": file.decimal}.items():
        if len(mark) != 1 or mark.isalnum() or mark in "\r\n\"'":
            raise DataError(f"The {what} is one character such as ';' or ',', not {mark!r}.")
    if file.separator == file.decimal:
        raise DataError(f"The separator and the decimal point cannot both be {file.decimal!r}.")


def _opened(file: File) -> tuple[bytes, Any]:
    """First bytes, and what pandas reads: the path, or all that is piped in."""
    if file.name == STDIN:
        content = sys.stdin.buffer.read()
        return content[:SNIFF], BytesIO(content)
    path = Path(file.name)
    with path.open("rb") as opened:
        return opened.read(SNIFF), path


def _read_text(file: File, start: bytes, content: Any, called: str, dtype: Mapping[str, str] | None) -> pd.DataFrame:
    binary = {".parquet", ".pq", ".feather", ".arrow"}
    if Path(file.name).suffix in COMPRESSED and Path(Path(file.name).stem).suffix.lower() in binary:
        raise DataError(f"{called} is a compressed file; only text is read so. Uncompress it first.")
    try:
        if b"\0" in start and Path(file.name).suffix not in COMPRESSED:
            raise UnicodeError
        how: dict[str, Any] = {"sep": file.separator, "encoding": "utf-8-sig"}
        names = pd.read_csv(content, header=None, nrows=1, dtype=str, **how).iloc[0]
        _check_names(names.dropna(), called)
        if isinstance(content, BytesIO):
            content.seek(0)
        how |= {"decimal": file.decimal, "low_memory": False, "dtype": dict(dtype or {})}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            data = pd.read_csv(content, index_col=False, **how)  # else a value too many would shift all columns
        _doubt(data.drop(columns=list(dtype or {}), errors="ignore"), file, called)
        return data
    except pd.errors.ParserWarning:
        if len(names) == 1:
            raise DataError(_one_column(pd.DataFrame(columns=names), called, file)) from None
        raise DataError(
            f"{called} has more values in its lines than the {len(names)} names of columns in the first one; name "
            "every column, also that of row names."
        ) from None
    except pd.errors.EmptyDataError:
        raise DataError(
            f"{called} is empty; it needs a line with column names and one line per observation."
        ) from None
    except UnicodeError:
        raise DataError(f"{called} is not a text file in UTF-8; save the table as CSV.") from None
    except OSError as error:
        raise DataError(f"{called} cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except (ValueError, EOFError) as error:  # pandas' ParserError among them
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ").rstrip(".")
        raise DataError(
            f"{called} is not a CSV file with as many values as columns in every line: {reason}."
        ) from error


def _doubt(data: pd.DataFrame, file: File, called: str) -> None:
    """Say which columns are text only for a decimal comma, or for a few values among numbers."""
    for name, values in data.select_dtypes(exclude=["number", "bool"]).items():
        known = values.dropna().astype(str)
        wrong = known[pd.to_numeric(known, errors="coerce").isna()]
        if wrong.empty:
            continue
        if file.decimal == "." and known.str.fullmatch(r"\s*[-+]?\d+(,\d+)?([eE][-+]?\d+)?\s*").all():
            remedy = "if these are numbers with a decimal comma, say --decimal ','"
        elif len(wrong) < FEW * len(known):
            remedy = f"the other {len(known) - len(wrong)} values are numbers"
        else:
            continue
        warnings.warn(
            f"Column {name!r} of {called} is text, for {wrong.iloc[0]!r} in data row {int(str(wrong.index[0])) + 1}; "
            f"{remedy}.",
            HierbayesWarning,
            stacklevel=4,
        )


def _check_names(names: pd.Series | pd.Index, called: str) -> None:
    """Refuse columns of one name."""
    twice = list(names[names.duplicated()])
    if twice:
        raise DataError(f"{called} has several columns named {twice[0]!r}; rename them.")


def _saved_levels(name: str) -> list[str]:
    """Named levels of the index that pandas has saved in a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        levels = (pyarrow.parquet.read_schema(name).pandas_metadata or {}).get("index_columns", [])
    except (OSError, pyarrow.ArrowException):
        return []
    names = [level.get("name") if isinstance(level, dict) else level for level in levels]
    return [each for each in names if each is not None and not each.startswith("__index_level_")]


def _one_column(data: pd.DataFrame, called: str, file: File) -> str:
    """What to do about a text whose columns were not found."""
    header = str(data.columns[0])
    says = f"{called} has one column only, {header!r}; "
    if mark := next((mark for mark in OTHER_SEPARATORS if mark in header and mark != file.separator), None):
        option = mark if mark.isspace() else repr(mark)
        return f"{says}its columns seem to be separated by {mark!r}; say so, --separator {spelled(option)}."
    separated = "commas" if file.separator == "," else repr(file.separator)
    return f"{says}separate the columns by {separated} and name them in the first line."


def _read_binary(name: str, content: Any, called: str) -> pd.DataFrame:
    import pyarrow

    try:
        data = READERS[name](content)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{called} begins as a {name} file, but cannot be read as one: {reason}.") from error
    kept = [level for level in data.index.names if level is not None]
    _check_names(data.columns.append(pd.Index(kept)) if kept else data.columns, called)
    return data.reset_index(kept) if kept else data


def _quoted(text: str) -> str:
    """A Python string in double quotes where that needs no escape."""
    return f'"{text}"' if not set(text) & set('"\\\n') and text.isprintable() else repr(text)
