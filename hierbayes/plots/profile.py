"""Profile likelihood over the posterior density of each parameter: where the two inferences meet or part.

Drawn with matplotlib alone: a likelihood has no draws, which all plots of ArviZ are of.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .estimates import name_of
from .style import INK, POSTERIOR, REML, WIDTH, few_ticks, legend, look, shortened, tidy_axes

if TYPE_CHECKING:
    from hierbayes.side_by_side.profiles import Profiles

ACROSS = 2
HEIGHT = 1.85
"""Inches of a panel."""
LONG = 50
"""Letters of a name above a panel."""
LINES: dict[str, Any] = {"profile": "-", "posterior": (0, (6, 1.5, 1.5, 1.5))}
PLACES = {"profile": -0.08, "posterior": -0.19}
"""Where the intervals stand below the curves, in parts of the height."""


def profile_figure(found: Profiles) -> Figure:
    """Draw the profile likelihood over the posterior density of every parameter.

    Parameters
    ----------
    found : Profiles
        Of `hierbayes.profiles`.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a parameter, both curves with area 1. Below them the estimate with the interval of the profile
        likelihood, which is that of ML also beside REML estimates, and the posterior mean with its equal-tailed one;
        a vertical bar at the edge stands where an end is on the boundary of the parameter.
    """
    marks = {"profile": replace(REML, label=found.method), "posterior": POSTERIOR}
    keys = list(found.intervals.drop_duplicates(["effect", "group", "term"]).itertuples())
    count = len(keys)
    columns = min(ACROSS, count)
    rows = math.ceil(count / columns)
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.45), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[count:]:
            axes.set_visible(False)
        for axes, key in zip(grid.flat, keys, strict=False):
            curves, ends = _of(found.table, key), _of(found.intervals, key)
            heights = curves["density"].dropna()
            top = float(heights.max()) if len(heights) else 1.0
            for which, mark in marks.items():
                curve = curves[curves["which"] == which]
                axes.plot(curve["value"], curve["density"], color=mark.color, linestyle=LINES[which], linewidth=1.6)
                if which == "posterior":
                    axes.fill_between(curve["value"], curve["density"], color=mark.color, alpha=0.16, linewidth=0.0)
                elif not len(curve):
                    axes.text(
                        0.98, 0.95, "the likelihood has no profile", transform=axes.transAxes, ha="right", va="top",
                        fontsize=7.5, style="italic",
                    )  # fmt: skip
                row, y = ends[ends["which"] == which].iloc[0], PLACES[which] * top
                low, high = row["conf_low"], row["conf_high"]
                if np.isfinite(low) and np.isfinite(high):
                    axes.plot([low, high], [y, y], color=mark.color, linewidth=1.6, solid_capstyle="butt")
                for side, end in (("lower", low), ("upper", high)):
                    if f"{side} end on the boundary" in row["note"]:
                        axes.plot([end], [y], marker="|", markersize=7.0, color=mark.color, markeredgewidth=1.6)
                axes.plot([row["estimate"]], [y], **mark.points(5.0))
            axes.axhline(0.0, color=INK, linewidth=0.6, zorder=0.8)
            axes.set_ylim(-0.29 * top, 1.06 * top)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_locator(few_ticks(5))
            axes.margins(x=0.03)
            name = name_of(pd.Series({"effect": key.effect, "group": key.group, "term": key.term}))
            axes.set_title(shortened(name, LONG), loc="left")
            tidy_axes(axes)
        level = f"{100 * found.conf_level:g}%"
        legend(
            figure,
            [
                Line2D(
                    [], [], color=mark.color, linestyle=LINES[which], linewidth=1.6, marker=mark.marker,
                    markersize=4.8, label=text,
                )
                for (which, mark), text in zip(
                    marks.items(),
                    (f"profile likelihood (ML) with {level} interval, {found.method} estimate",
                     f"posterior, mean and {level} interval"),
                    strict=True,
                )
            ],
        )  # fmt: skip
    return figure


def _of(table: pd.DataFrame, key: object) -> pd.DataFrame:
    """The rows of one parameter."""
    same = (table["effect"] == key.effect) & (table["term"] == key.term)  # type: ignore[attr-defined]
    groups = table["group"].fillna("")
    return table[same & (groups == ("" if pd.isna(key.group) else key.group))]  # type: ignore[attr-defined]
