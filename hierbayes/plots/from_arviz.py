"""Plots of ArviZ on axes of our own: the only file that knows arviz_plots.

ArviZ's functions make their figures with pyplot, unless they are given a collection of plots to draw on. Here that
collection is around axes of a `matplotlib.figure.Figure` that pyplot has never heard of, so no window opens, nothing
has to be closed, and the look is ours. ``plot_compare`` takes no such collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKEND = "matplotlib"


def on(axes: Axes, data: xr.Dataset | None = None, **aes: list[str]) -> Any:
    """Axes as a collection of one plot.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    data : xarray.Dataset, optional
    **aes : list of str
        Dimensions of the data that are drawn over each other.

    Returns
    -------
    arviz_plots.PlotCollection
    """
    from arviz_plots import PlotCollection

    drawn = xr.Dataset({"figure": np.array(axes.figure, dtype=object), "plot": np.array(axes, dtype=object)})
    tree = xr.DataTree.from_dict({"/": drawn})
    return PlotCollection(xr.Dataset() if data is None else data, tree, aes=aes or None, backend=BACKEND)


def khat(axes: Axes, k: xr.DataArray, **look_of: Any) -> None:
    """Pareto k against position, by ``arviz_plots.plot_khat``.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    k : (items,) xarray.DataArray
    **look_of
        Of the points: ``color``, ``marker``, ``size``, ``alpha``.
    """
    from types import SimpleNamespace

    from arviz_plots import plot_khat

    visuals: Any = {"khat": look_of, "title": False, "xlabel": False, "ylabel": False, "legend": False}
    plot_khat(SimpleNamespace(pareto_k=k), plot_collection=on(axes), backend=BACKEND, legend=False, visuals=visuals)


def predictive(axes: Axes, tree: xr.DataTree | None, kind: str, new: dict[str, Any], seen: dict[str, Any]) -> None:
    """Distribution of the response in replicates and as observed, by ``arviz_plots.plot_ppc_dist``.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    tree : xarray.DataTree
        With posterior_predictive, every draw of which is shown, and observed_data.
    kind : {"kde", "ecdf"}
    new, seen : dict
        Looks of the two kinds of lines.
    """
    from arviz_plots import plot_ppc_dist

    assert tree is not None
    replicates = tree["posterior_predictive"].to_dataset()
    count = int(replicates.sizes["chain"] * replicates.sizes["draw"])
    drawn = on(axes, replicates.stack(sample=["chain", "draw"]), overlay_ppc=["sample"])
    visuals: Any = {"predictive_dist": new, "observed_dist": seen, "title": False, "remove_axis": False}
    plot_ppc_dist(tree, kind=kind, num_samples=count, plot_collection=drawn, backend=BACKEND, visuals=visuals)
