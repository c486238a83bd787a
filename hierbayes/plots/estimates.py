"""Fixed effects, standard deviations and correlations: both intervals of each, on a scale of its own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .style import INK, POSTERIOR, REML, WIDTH, Mark, few_ticks, handles, legend, look, tidy_axes

COLUMNS = 2
HEIGHT = 0.92
"""Inches of a panel."""
FAR = 20.0
"""The interval of a maximum is cut off where it reaches so many posterior intervals further than the posterior's."""


def estimates_figure(maximum: pd.DataFrame | None, posterior: pd.DataFrame, method: str = REML.label) -> Figure:
    """Draw point estimates and intervals of the maximum of the likelihood and of the posterior side by side.

    Parameters
    ----------
    maximum : pandas.DataFrame or None
        `RemlFit.tidy` or `LaplaceFit.tidy`, if there is such a fit. An interval that does not exist (a singular
        fit) is left out.
    posterior : pandas.DataFrame
        `Fit.tidy` or `FamilyFit.tidy`, with the same rows.
    method : str
        What the maximum is by.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per parameter, because their scales have nothing to do with each other.
    """
    count = len(posterior)
    mark = replace(REML, label=method)
    tables = {mark: maximum, POSTERIOR: posterior} if maximum is not None else {POSTERIOR: posterior}
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    with look():
        layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.12)
        figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.45), layout=layout)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[count:]:
            axes.set_visible(False)
        for number, axes in enumerate(grid.flat[:count]):
            shown = [table.iloc[number] for table in tables.values()]
            heights = [float(height) for height in range(len(tables))][::-1]
            for height, row, drawn in zip(heights, shown, tables, strict=True):
                _interval(axes, height, row, drawn)
            a, b = shown[0], shown[-1]
            ends = np.array([b["conf_low"], b["conf_high"], a["conf_low"], a["conf_high"]], dtype=float)
            reach = FAR * (ends[1] - ends[0])
            ends = np.append(np.clip(ends, ends[0] - reach, ends[1] + reach), float(a["estimate"]))
            low, high = np.nanmin(ends), np.nanmax(ends)
            pad = 0.06 * (high - low) or 1.0
            term = str(a["term"])
            signed = a["effect"] == "fixed" or term == "rho" or term.startswith(("corr(", "threshold["))
            if signed and low - 0.5 * (high - low) < 0 < high + 0.5 * (high - low):
                axes.axvline(0.0, color=INK, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0.5)
                low, high = min(low, 0.0), max(high, 0.0)
            if not signed and low < 0.35 * high:
                low = 0.0
            axes.set_xlim(low - pad, high + pad)
            axes.set_ylim(-0.75, len(tables) - 0.25)
            labels = [drawn.label if number % columns == 0 else "" for drawn in tables]
            axes.set_yticks(heights[::-1], labels[::-1])
            axes.xaxis.set_major_locator(few_ticks(5))
            axes.set_title(name_of(a), loc="left", pad=2.5)
            axes.spines["left"].set_visible(False)
            tidy_axes(axes)
            axes.tick_params(axis="y", length=0)
        legend(figure, handles(*tables))
    return figure


def name_of(row: pd.Series) -> str:
    """Name of a parameter with the factor that it belongs to.

    Examples
    --------
    >>> name_of(pd.Series({"effect": "ran_pars", "group": "Subject", "term": "sd(Days)"}))
    'sd(Days) of Subject'
    >>> name_of(pd.Series({"effect": "fixed", "group": None, "term": "Days"}))
    'Days'
    """
    if row["effect"] == "fixed":
        return str(row["term"])
    residual = {"sigma": "sigma (residual sd)", "rho": "rho (residual correlation)"}
    if row["term"] in residual:
        return residual[row["term"]]
    if row["group"] == "Residual":
        return str(row["term"])
    return f"{row['term']} of {row['group']}"


def _interval(axes: Axes, y: float, row: pd.Series, mark: Mark) -> None:
    low, high = float(row["conf_low"]), float(row["conf_high"])
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [y, y], color=mark.color, linewidth=2.0, solid_capstyle="butt")
    axes.plot([float(row["estimate"])], [y], **mark.points(6.0))
