"""A DataTree as the members of a zarr hierarchy (format 2), and back, with everything as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hierbayes.errors import HierbayesError
from hierbayes.plain import from_plain, to_plain

CODECS = {"blosc", "zlib", "zstd", "lz4", "gzip", "bz2", "lzma"}
"""Compressors that zarr may have used; other codecs could run code, and are never called."""


def to_members(tree: xr.DataTree) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Write a tree.

    Parameters
    ----------
    tree : xarray.DataTree

    Returns
    -------
    members : dict of str to bytes
        Files of the hierarchy by their paths.
    notes : dict
        What `from_members` must know: for each group the order of its variables, and which hold objects.

    Raises
    ------
    HierbayesError
        If a group has something that zarr cannot store.
    """
    import zarr

    written, notes = {}, {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False).drop_encoding()
        objects = [str(name) for name, variable in dataset.variables.items() if variable.dtype == object]
        notes[node.path] = {
            "variables": [str(name) for name in dataset.data_vars],
            "coordinates": [str(name) for name in dataset.coords],
            "types": {str(name): variable.dtype.str for name, variable in dataset.variables.items()},
        }
        try:
            written[node.path] = _plain(dataset, objects)
        except TypeError as error:
            raise _unsaved(node.path, f"objects of type {error}") from error
    store: dict[str, Any] = {}
    try:
        xr.DataTree.from_dict(written).to_zarr(zarr.storage.MemoryStore(store), zarr_format=2, consolidated=True)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise HierbayesError(f"The posterior cannot be saved as zarr: {error}") from error
    return {name: content.to_bytes() for name, content in store.items()}, notes


def _plain(dataset: xr.Dataset, objects: list[str]) -> xr.Dataset:
    """Attributes, and variables that hold objects, as JSON."""
    for name in objects:
        variable = dataset.variables[name]
        texts = [json.dumps(to_plain(value), ensure_ascii=False) for value in variable.to_numpy().ravel()]
        dataset = dataset.drop_vars(name).assign(
            {name: (variable.dims, np.array(texts, dtype=str).reshape(variable.shape), variable.attrs)}
        )
    for variable in dataset.variables.values():
        variable.attrs = to_plain(variable.attrs)
    dataset.attrs = to_plain(dataset.attrs)
    return dataset


def _unsaved(path: str, what: str) -> HierbayesError:
    return HierbayesError(f"The group {path!r} of idata has {what}, which cannot be saved; take them out of it.")


def from_members(members: Mapping[str, bytes], notes: Mapping[str, Any]) -> xr.DataTree:
    """Read what `to_members` wrote.

    Parameters
    ----------
    members : mapping of str to bytes
        May have others beside them.
    notes : mapping

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    HierbayesError
        If the hierarchy asks for a codec that is no compressor.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    _check_codecs(members)
    make = default_buffer_prototype().buffer.from_bytes
    store = zarr.storage.MemoryStore({name: make(content) for name, content in members.items()})
    with xr.open_datatree(store, engine="zarr", chunks=None, consolidated=True) as tree:  # type: ignore[arg-type]
        nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
        groups = {path: _restored(nodes[path].load(), note) for path, note in notes.items()}
    return xr.DataTree.from_dict(groups)


def _check_codecs(members: Mapping[str, bytes]) -> None:
    """Refuse arrays of pickled objects, which nobody but an attacker could have written."""
    arrays: list[tuple[str, Any]] = []
    for name, content in members.items():
        if name.endswith("zarr.json"):  # another format, with other codecs
            arrays.append((name, {"filters": name}))
        elif name.endswith(".zarray"):
            arrays.append((name, json.loads(content)))
        elif name.endswith(".zmetadata"):
            listed = json.loads(content)["metadata"]
            arrays += [(key, about) for key, about in listed.items() if key.endswith(".zarray")]
    for name, about in arrays:
        codec = (about.get("compressor") or {"id": "zlib"})["id"]
        if about.get("filters") or codec not in CODECS or "O" in str(about["dtype"]):
            raise HierbayesError(
                f"{name} in the file describes something else than numbers or texts; it is not read."
            )


def _restored(dataset: xr.Dataset, note: Mapping[str, Any]) -> xr.Dataset:
    """A group with the types, the order and the attributes that it had."""

    def variable(name: str) -> xr.Variable:
        stored, dtype = dataset.variables[name], np.dtype(note["types"][name])
        values = stored.to_numpy()
        if dtype.hasobject:
            objects = (from_plain(json.loads(text)) for text in values.ravel())
            values = np.fromiter(objects, dtype=object).reshape(values.shape)
        return xr.Variable(stored.dims, values.astype(dtype, copy=False), from_plain(stored.attrs))

    return xr.Dataset(
        {name: variable(name) for name in note["variables"]},
        {name: variable(name) for name in note["coordinates"]},
        from_plain(dataset.attrs),
    )
