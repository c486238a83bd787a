"""Ctrl-C during sampling: which draws are kept, and how a fit says that it has fewer than were asked for.

Chains that are stopped have different lengths, and with one processor they run one after the other. What is kept are
the first d draws of the k longest chains, k and d such that k d is largest: everything that is asked of a posterior
needs chains of one length. Draws of the warm-up are never kept.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierbayes import names

LEAST = 10
"""A chain with fewer draws says nothing."""
INCOMPLETE = "incomplete"
"""Attribute of an interrupted fit."""


def rectangle(lengths: np.ndarray) -> tuple[np.ndarray, int]:
    """The chains and the number of their draws that make the largest rectangle.

    Parameters
    ----------
    lengths : (chains,) int array

    Returns
    -------
    chains : int array
        In their order; none if no chain has `LEAST` draws.
    draws : int

    Examples
    --------
    >>> rectangle(np.array([1000, 0, 930, 200]))
    (array([0, 2]), 930)
    >>> rectangle(np.array([100, 80, 90, 3]))
    (array([0, 1, 2]), 80)
    """
    order = np.argsort(-lengths, kind="stable")
    descending = lengths[order]
    areas = np.where(descending < LEAST, 0, descending * np.arange(1, len(lengths) + 1))
    if not areas.any():
        return np.zeros(0, dtype=int), 0
    last = int(np.argmax(areas))
    return np.sort(order[: last + 1]), int(descending[last])


def cut(posterior: xr.Dataset, stats: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset] | None:
    """Keep the largest rectangle of the draws of an interrupted run.

    Parameters
    ----------
    posterior, stats : xarray.Dataset
        Of nutpie, shorter chains filled up. A draw takes at least one step, and what fills up has none.

    Returns
    -------
    (posterior, stats) or None
        Chains and draws counted from 0; None if there is too little to keep.
    """
    chains, draws = rectangle((stats["n_steps"].to_numpy() > 0).sum(axis=1))
    if not draws:
        return None
    kept = {names.CHAIN: chains, names.DRAW: slice(draws)}
    counted = {names.CHAIN: np.arange(len(chains)), names.DRAW: np.arange(draws)}
    return posterior.isel(kept).assign_coords(counted), stats.isel(kept).assign_coords(counted)


def shortfall(posterior: xr.Dataset, chains: int, draws: int) -> str | None:
    """What is missing of a run, in a sentence.

    Parameters
    ----------
    posterior : xarray.Dataset
    chains, draws : int
        That were asked for.

    Returns
    -------
    str or None
        None if nothing is.

    Examples
    --------
    >>> posterior = xr.Dataset({"x": (("chain", "draw"), np.zeros((2, 412)))})
    >>> shortfall(posterior, 4, 1000)
    'Sampling was interrupted: 2 of 4 chains were kept, with 412 of 1000 draws each; fit again for all of them.'
    """
    kept, length = posterior.sizes[names.CHAIN], posterior.sizes[names.DRAW]
    if (kept, length) == (chains, draws):
        return None
    some = f"{kept} of {chains} chains {'was' if kept == 1 else 'were'} kept"
    shown = some if kept < chains else "all chains were kept"
    return f"Sampling was interrupted: {shown}, with {length} of {draws} draws each; fit again for all of them."
