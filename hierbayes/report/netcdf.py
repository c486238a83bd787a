"""Posterior draws as netCDF-4, which ArviZ, xarray, R and Julia read: ``arviz.from_netcdf(path)``.

netCDF has numbers and texts. What it does not have is written as the nearest thing that it has: truth values of
attributes as 0 and 1, anything else in an attribute as JSON, objects in a variable as texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hierbayes.errors import HierbayesError
from hierbayes.plain import to_plain


def write_netcdf(tree: xr.DataTree, path: str | Path) -> None:
    """Write all groups of a posterior into one file.

    Parameters
    ----------
    tree : xarray.DataTree
        `Fit.idata`. Draws that were streamed to a folder are copied into the file.
    path : str or pathlib.Path

    Raises
    ------
    HierbayesError
        If a group holds what netCDF cannot.
    OSError
        If the file cannot be written.
    """
    groups = {node.path: _storable(node.to_dataset(inherit=False)) for node in tree.subtree}
    try:
        xr.DataTree.from_dict(groups).to_netcdf(path, engine="netcdf4")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise HierbayesError(f"The posterior cannot be saved as netCDF: {error}") from error


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    """A group in the types that netCDF has."""
    dataset = dataset.copy(deep=False).drop_encoding()
    for name, variable in list(dataset.variables.items()):
        if variable.dtype == object:
            texts = np.array([_text(value) for value in variable.to_numpy().ravel()], dtype=str)
            dataset[name] = xr.Variable(variable.dims, texts.reshape(variable.shape), variable.attrs)
    for name in dataset.variables:
        dataset[name].attrs = {key: _attribute(value) for key, value in dataset[name].attrs.items()}
    dataset.attrs = {str(key): _attribute(value) for key, value in dataset.attrs.items()}
    return dataset


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _attribute(value: Any) -> Any:
    """An attribute as a number, a text or a list of numbers or of texts."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, (str, int, float, np.integer, np.floating)):
        return value
    items = (
        value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, (list, tuple)) else []
    )
    for kind in (str, (int, float)):
        if items and all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            return items
    return json.dumps(to_plain(value), ensure_ascii=False)
