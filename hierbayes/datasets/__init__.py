"""Example data: classic experiments, simulated recipes and course files, each by its name.

Every data set is one entry of the table in `registry`: a few CSV files come with the package,
the tutorials' simulations are computed anew at each call, and two course files, which may not be
copied into the package, are fetched once and kept.  Whatever the kind, `load_data` returns a fresh
frame, so that changing one never changes what the next call returns.
"""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO

import pandas as pd

from ..errors import DatasetError, suggest
from .download import fetch
from .registry import REGISTRY

__all__ = ["list_data", "load_data"]


def load_data(name: str) -> pd.DataFrame:
    """Return an example data set by its name.

    Parameters
    ----------
    name : str
        One of the names in `list_data`, spelled exactly so.

    Returns
    -------
    pandas.DataFrame
        A new frame with a plain row index.  Grouping factors and other categories that were
        read from a file are strings, also where their labels are digits, and those with an order are
        ordered categoricals; those of the simulated sets are what the recipe makes them, often integers.

    Raises
    ------
    hierbayes.errors.DatasetError
        If the name is unknown, or if a file that is not part of the package can be neither found
        nor downloaded, or if its checksum is wrong.

    Notes
    -----
    A set with access "download" is looked for as ``NAME.csv`` in the folder that the environment
    variable ``HIERBAYES_DATA`` names, and otherwise downloaded once into the user's cache.

    Examples
    --------
    >>> load_data("sleepstudy").head(3)
       Reaction  Days Subject
    0  249.5600     0     308
    1  258.7047     1     308
    2  250.8006     2     308
    """
    entry = REGISTRY.get(name)
    if entry is None:
        raise DatasetError(
            f"There is no data set {name!r}. {suggest(name, REGISTRY)} list_data() describes them all."
        )
    if entry.recipe is not None:
        return entry.recipe()
    if entry.sha256 is not None:
        content = fetch(entry.name, entry.sha256)
    else:
        content = files(__name__).joinpath(f"{entry.name}.csv").read_bytes()
    ordered = {column: pd.CategoricalDtype(labels, ordered=True) for column, labels in entry.ordered.items()}
    return pd.read_csv(BytesIO(content), dtype=dict.fromkeys(entry.text, "str") | ordered)


def list_data() -> pd.DataFrame:
    """Describe every data set that `load_data` knows; nothing is loaded or downloaded for it.

    Returns
    -------
    pandas.DataFrame
        One row per data set: ``name``, ``rows`` (a count), ``columns`` (names joined by commas),
        ``description``, ``source``, ``licence``, and ``access``, which is "embedded", "simulated"
        or "download".

    Examples
    --------
    >>> list_data()[["name", "rows", "columns", "access"]].head(3)
             name  rows                     columns    access
    0  sleepstudy   180       Reaction,Days,Subject  embedded
    1  Penicillin   144       diameter,plate,sample  embedded
    2      Pastes    60  strength,batch,cask,sample  embedded
    """
    return pd.DataFrame(
        {
            "name": entry.name,
            "rows": entry.rows,
            "columns": ",".join(entry.columns),
            "description": entry.description,
            "source": entry.source,
            "licence": entry.licence,
            "access": entry.access,
        }
        for entry in REGISTRY.values()
    )
