"""Clustered data: a cloud with lines within, between and overall; what missing responses do to an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import INK, NO_POOLING, POSTERIOR, REML, WIDTH, few_ticks, legend, look, tidy_axes

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.clusters.correlations import Correlations
    from hierbayes.clusters.delta_adjustment import Sensitivity

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a300", "#767d86")
"""Of Okabe and Ito, one a group; then again with another marker."""
MARKERS = "osD^vPX"


def correlations_figure(data: pd.DataFrame, found: Correlations, title: str | None = None) -> Figure:
    """Draw the rows of every group with its own line, the overall line, and the line through the group means.

    Parameters
    ----------
    data : pandas.DataFrame
        What the correlations are of.
    found : Correlations
    title : str, optional
        By default the correlations overall and within.

    Returns
    -------
    matplotlib.figure.Figure
    """
    table = found.table
    overall, within, between = (table[table["level"] == level].iloc[0] for level in ("overall", "within", "between"))
    if title is None:
        title = f"Correlation {overall['correlation']:.2f} overall, {within['correlation']:.2f} within {found.group}"
    with look():
        figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
        axes = figure.subplots()
        for k, row in enumerate(table[table["level"] == "group"].itertuples()):
            own = data[data[found.group].map(str) == row.group]
            color, marker = PALETTE[k % len(PALETTE)], MARKERS[k // len(PALETTE) % len(MARKERS)]
            axes.plot(own[found.x], own[found.y], marker, color=color, markersize=3.6, alpha=0.65, markeredgewidth=0)
            _line(axes, own[found.x], row, color=color, linewidth=1.8, zorder=3)
        everything = data[found.x].dropna()
        _line(axes, everything, overall, color=INK, linewidth=2.0, linestyle=(0, (5, 2)), zorder=4)
        _line(axes, everything, between, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=4)
        axes.set_xlabel(found.x)
        axes.set_ylabel(found.y)
        axes.set_title(title, loc="left")
        tidy_axes(axes, "both")
        legend(
            figure,
            [
                Line2D(
                    [], [], color=PALETTE[0], linewidth=1.8, marker="o", markersize=3.6, label=f"each {found.group}"
                ),
                Line2D([], [], color=INK, linewidth=2.0, linestyle=(0, (5, 2)), label="overall"),
                Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)), label=f"means of {found.group}"),
            ],
        )
    return figure


def sensitivity_figure(found: Sensitivity, term: str, title: str | None = None) -> Figure:
    """Draw an estimate and its interval as the missing responses move away from what the model expects.

    Parameters
    ----------
    found : Sensitivity
    term : str
        A coefficient.
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no such coefficient.
    """
    part = found.table[found.table["term"] == term]
    if not len(part):
        raise ValueError(f"there is no coefficient {term!r}; there are {', '.join(found.tipping['term'])}")
    tipping = found.tipping.set_index("term").loc[term, "delta"]
    if title is None:
        title = f"{term}: {found.imputed} missing responses, {found.shifted} of them shifted"
    with look():
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.0, color=INK, linewidth=0.8)
        axes.fill_between(
            part["delta"], part["conf_low"], part["conf_high"], color=REML.color, alpha=0.2, linewidth=0
        )
        axes.plot(part["delta"], part["estimate"], color=REML.color, linewidth=1.8, **_dots())
        marks = [Line2D([], [], color=REML.color, linewidth=1.8, label="estimate and interval", **_dots())]
        seen = found.complete_case.set_index("contrast").loc[term]
        axes.errorbar(
            [0.0],
            [seen["estimate"]],
            [[seen["estimate"] - seen["conf_low"]], [seen["conf_high"] - seen["estimate"]]],
            color=POSTERIOR.color, marker="D", markersize=4.5, capsize=3, linewidth=1.2, zorder=4,
        )  # fmt: skip
        marks.append(Line2D([], [], color=POSTERIOR.color, marker="D", markersize=4.5, label="rows observed only"))
        if np.isfinite(tipping):
            axes.axvline(tipping, color=NO_POOLING.color, linewidth=1.2, linestyle=NO_POOLING.line)
            label = f"tipping point, {tipping:.2f}"
            marks.append(
                Line2D([], [], color=NO_POOLING.color, linewidth=1.2, linestyle=NO_POOLING.line, label=label)
            )
        axes.set_xlabel("shift of the missing responses (residual sd)")
        axes.set_ylabel(f"coefficient of {term}")
        axes.set_title(title, loc="left")
        axes.xaxis.set_major_locator(few_ticks(8))
        tidy_axes(axes, "y")
        legend(figure, marks)
    return figure


def _dots() -> dict[str, Any]:
    return {"marker": REML.marker, "markersize": 4.0}


def _line(axes: Axes, x: pd.Series, row: Any, **look_of: Any) -> None:
    """A line of known slope through known means, as far as x goes."""
    ends = np.array([x.min(), x.max()])
    axes.plot(ends, row.mean_y + row.slope * (ends - row.mean_x), **look_of)
