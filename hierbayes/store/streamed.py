"""Draws of random effects that were streamed to a zarr folder stay there: the file says where, and what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hierbayes import names
from hierbayes.errors import LoadError


def detach(tree: xr.DataTree) -> tuple[xr.DataTree, dict[str, Any] | None]:
    """Take streamed draws out of a posterior.

    Parameters
    ----------
    tree : xarray.DataTree

    Returns
    -------
    tree : xarray.DataTree
    about : dict or None
        What `attach` must know; None if nothing was streamed.
    """
    folder = tree.attrs.get(names.STREAMED)
    if folder is None:
        return tree, None
    draws = _open(Path(folder))
    posterior = tree["posterior"].to_dataset()
    rest = posterior.drop_vars([*draws.data_vars, *(set(draws.dims) - {names.CHAIN, names.DRAW})])
    groups = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    return xr.DataTree.from_dict({**groups, "/posterior": rest}), {"folder": folder, "sha256": _ends(draws)}


def attach(tree: xr.DataTree, about: Mapping[str, Any] | None, beside: Path) -> xr.DataTree:
    """Put streamed draws back, without reading them.

    Parameters
    ----------
    tree : xarray.DataTree
    about : mapping or None
        From `detach`.
    beside : pathlib.Path
        Folder of the file, where the draws are looked for if they are not where they were.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    LoadError
        If the folder is gone, or has other draws.
    """
    if about is None:
        return tree
    folder = Path(about["folder"])
    if not folder.is_dir():
        folder = beside / folder.name
    if not folder.is_dir():
        raise LoadError(
            f"The draws of the random effects were streamed to {about['folder']}, which is gone; put that folder "
            "back, or beside the file."
        )
    try:
        draws = _open(folder)
        same = _ends(draws) == about["sha256"]
    except Exception as error:
        raise LoadError(
            f"The draws of the random effects in {folder} cannot be read; put back what was there."
        ) from error
    if not same:
        raise LoadError(
            f"The draws of the random effects in {folder} are not those of the fit; put back what was there."
        )
    groups = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    posterior = groups["/posterior"].merge(draws)
    where = {names.STREAMED: str(folder.resolve())}
    made = xr.DataTree.from_dict({**groups, "/posterior": posterior.assign_attrs(where)})
    made.attrs |= where
    return made


def _open(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder, chunks=None, consolidated=False)


def _ends(draws: xr.Dataset) -> str:
    """SHA-256 of the sizes and of the first and the last draw of every chain."""
    digest = hashlib.sha256(repr(sorted(draws.sizes.items())).encode())
    for name in sorted(map(str, draws.data_vars)):
        for draw in (0, -1):
            digest.update(np.ascontiguousarray(draws[name].isel({names.DRAW: draw}).to_numpy()).tobytes())
    return digest.hexdigest()
