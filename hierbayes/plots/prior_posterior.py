"""Prior against posterior of every parameter, with the maximum of the likelihood marked.

Drawn with matplotlib alone: ``arviz_plots.plot_prior_posterior`` smooths draws of the prior, where densities are
known exactly, and its axes reach as far as the prior does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .estimates import name_of
from .style import INK, NO_POOLING, POSTERIOR, REML, WIDTH, few_ticks, handles, legend, look, shortened, tidy_axes

if TYPE_CHECKING:
    from hierbayes.side_by_side.prior_posterior import PriorPosterior

ACROSS = 3
HEIGHT = 1.42
"""Inches of a panel."""
LONG = 33
"""Letters of a name above a panel."""


def prior_posterior_figure(found: PriorPosterior, method: str | None = None) -> Figure:
    """Draw prior and posterior density of every parameter, each on its own scale.

    Parameters
    ----------
    found : PriorPosterior
        Of `hierbayes.prior_posterior`.
    method : str, optional
        What the maximum is called; by default as `found` says.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a parameter; where a prior is flat, or has no curve, the panel says so, as it does of an intercept
        whose prior is set where the predictors have their means: the curve is what that implies where they are 0.
        Markers on the axis are the estimate of the maximum (above) and the posterior mean with its interval (below).
    """
    method = found.method if method is None else method
    mark = replace(REML, label=method)
    count = len(found.table)
    columns = min(ACROSS, count)
    rows = math.ceil(count / columns)
    keys = found.densities["group"].fillna("")
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[count:]:
            axes.set_visible(False)
        for axes, (_, row) in zip(grid.flat, found.table.iterrows(), strict=False):
            group = "" if row["effect"] == "fixed" else row["group"]
            own = found.densities[(found.densities["term"] == row["term"]) & (keys == group)]
            own = own[own["effect"] == row["effect"]]
            prior, posterior = (own[own["which"] == which] for which in ("prior", "posterior"))
            axes.fill_between(
                posterior["value"], posterior["density"], color=POSTERIOR.color, alpha=0.2, linewidth=0.0, zorder=1.0
            )
            axes.plot(posterior["value"], posterior["density"], color=POSTERIOR.color, linewidth=1.4, zorder=2.0)
            top = float(np.nanmax(own["density"])) if own["density"].notna().any() else 1.0
            if len(prior):
                axes.plot(
                    prior["value"], prior["density"], color=INK, linestyle=NO_POOLING.line, linewidth=1.3, zorder=2.2
                )
                peak = float(np.nanmax(posterior["density"])) if posterior["density"].notna().any() else top
                top = min(top, 3.0 * peak)
            elif row["note"]:
                axes.text(
                    0.98, 0.93, "flat prior" if "flat" in row["note"] else row["note"], transform=axes.transAxes,
                    ha="right", va="top", fontsize=7.5, style="italic",
                )  # fmt: skip
            if len(prior) and "at the mean of the predictors" in row["note"]:
                axes.text(
                    0.98, 0.95, "prior set at\nmean predictors", transform=axes.transAxes, ha="right",
                    va="top", fontsize=6.0, style="italic",
                )  # fmt: skip
            base = -0.09 * top
            axes.plot(
                [row["conf_low"], row["conf_high"]], [base, base], color=POSTERIOR.color, linewidth=1.6, zorder=2.4
            )
            axes.plot([row["mean"]], [base], **POSTERIOR.points(4.6), zorder=2.6)
            low, high = float(own["value"].min()), float(own["value"].max())
            if np.isfinite(row["maximum"]):
                at = float(np.clip(row["maximum"], low, high))
                axes.plot([at, at], [0.0, top], color=mark.color, linewidth=1.1, zorder=2.3)
                outside = row["maximum"] < low or row["maximum"] > high
                shape = {**mark.points(4.6), **({"marker": "<" if row["maximum"] < low else ">"} if outside else {})}
                axes.plot([at], [0.0], **shape, zorder=2.7, clip_on=False)
            axes.axhline(0.0, color=INK, linewidth=0.6, zorder=0.8)
            room = 0.03 * (high - low)
            axes.set_xlim(low - room, high + room)
            axes.set_ylim(-0.19 * top, 1.06 * top)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_locator(few_ticks(4))
            axes.set_title(shortened(name_of(row), LONG), loc="left", pad=3)
            tidy_axes(axes)
        named = [
            Line2D([], [], color=INK, linestyle=NO_POOLING.line, linewidth=1.3, label="prior"),
            Line2D(
                [],
                [],
                color=POSTERIOR.color,
                linewidth=1.4,
                marker=POSTERIOR.marker,
                markersize=4.6,
                label="posterior, mean and interval",
            ),
            *(handles(mark) if method else []),
        ]
        legend(figure, named)
    return figure
