"""Posterior predictive by group: observations of each level over what the posterior would give there.

All rows together are drawn by ``arviz_plots.plot_ppc_dist``; levels here, for which ArviZ has no plot.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import from_arviz
from .style import INK, POSTERIOR, WIDTH, few_ticks, look, shortened, tidy_axes

if TYPE_CHECKING:
    from hierbayes.side_by_side.predictive import Predictive

LONG = 26
"""Letters of a name that are shown."""
SPREAD = 0.22
"""Half the height over which points of one level are spread."""
ACROSS = 4
"""Categories beside each other."""
OVERALL = 1.35
"""Inches of the panel of all rows."""
WIDE = 30.0
"""Counts beyond this are shown on a square-root scale."""


def predictive_figure(found: Predictive) -> Figure:
    """Draw observations of every level over the 50% and 95% intervals of the posterior predictive distribution.

    Parameters
    ----------
    found : Predictive
        Of `hierbayes.predictive`.

    Returns
    -------
    matplotlib.figure.Figure
        Above, the distribution of all rows in some replicates and as observed. Below, one line a level from the
        smallest to the largest mean: bars are the 50% and 95% intervals of a new row of the level, the diamond is
        their median, dots are observations. For proportions a panel a category, of shares in the level. The title
        counts what lies within the 95% interval.
    """
    parts = list(found.levels.groupby("category", sort=False))
    columns = min(ACROSS, len(parts))
    rows = math.ceil(len(parts) / columns)
    below = rows * (0.225 * found.shown + 0.5)
    above = OVERALL if found.replicates is not None else 0.0
    with look():
        figure = Figure(figsize=(WIDTH, below + above + 0.85), layout="constrained")
        if found.replicates is None:
            grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        else:
            top, main = figure.subplots(2, 1, gridspec_kw={"height_ratios": [above, below]})
            _overall(top, found)
            grid = np.array([[main]])
        for axes in grid.flat[len(parts) :]:
            axes.set_visible(False)
        for axes, (category, part) in zip(grid.flat, parts, strict=False):
            _levels(axes, found, part)
            if category:
                axes.set_title(str(category), loc="left")
        for row in grid:
            row[0].set_ylabel(found.group)
        inside, of = (int(found.levels[column].sum()) for column in ("inside", "of"))
        what = "rows" if found.kind == "rows" else "shares"
        some = f"{found.shown} of {found.total:,}" if found.shown < found.total else f"{found.total:,}"
        figure.suptitle(
            f"{some} levels of {found.group}: {inside:,} of {of:,} {what} within the 95% interval",
            x=0.01, ha="left", fontsize=9.0, fontweight="bold",
        )  # fmt: skip
        label = found.response if found.kind == "rows" else "share in the level"
        if found.kind != "rows" and len(parts) == 1:
            label = f"share of successes, {found.response}"
        if _skewed(found):
            label += " (square-root scale)"
        for column in range(columns):
            last = [axes for axes in grid[:, column] if axes.get_visible()][-1]
            last.set_xlabel(label)
            last.tick_params(labelbottom=True)
        entries = [
            Line2D([], [], linestyle="none", marker="o", markersize=4.0, color=INK, label="observed"),
            Line2D([], [], **POSTERIOR.points(4.0), label="predicted median"),
            Patch(color=POSTERIOR.color, alpha=0.55, linewidth=0, label="50% interval"),
            Patch(color=POSTERIOR.color, alpha=0.28, linewidth=0, label="95% interval"),
        ]
        figure.legend(handles=entries, loc="outside lower left", ncols=4, handletextpad=0.4, columnspacing=1.2)
    return figure


def _levels(axes: Axes, found: Predictive, levels: pd.DataFrame) -> None:
    """One line a level."""
    y = np.arange(len(levels), dtype=float)[::-1]
    axes.hlines(y, levels["q2.5"], levels["q97.5"], color=POSTERIOR.color, linewidth=3.0, alpha=0.28, zorder=1.2)
    axes.hlines(y, levels["q25"], levels["q75"], color=POSTERIOR.color, linewidth=6.5, alpha=0.32, zorder=1.3)
    axes.plot(levels["q50"], y, **POSTERIOR.points(3.6), zorder=1.6)
    seen: dict[str, Any] = {"linestyle": "none", "marker": "o", "markerfacecolor": INK, "zorder": 2.0}
    seen |= {"markeredgewidth": 0.0, "clip_on": False}
    heights = dict(zip(levels["level"], y, strict=True))
    for level, part in found.rows.groupby("level", sort=False):
        spread = np.linspace(-SPREAD, SPREAD, len(part)) if len(part) > 1 else np.zeros(1)
        axes.plot(part["observed"], heights[level] + spread, markersize=2.6, alpha=0.75, **seen)
    if found.kind != "rows":
        axes.plot(levels["observed"], y, markersize=4.2, **seen)
    axes.set_yticks(y, [shortened(str(name), LONG) for name in levels["level"]])
    axes.set_ylim(-0.7, len(levels) - 0.3)
    if _skewed(found):
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xlim(0.0, None)
    axes.xaxis.set_major_locator(few_ticks(8 if found.kind == "rows" else 4))
    axes.spines["left"].set_visible(False)
    tidy_axes(axes)
    axes.tick_params(axis="y", length=0)


def _skewed(found: Predictive) -> bool:
    """Whether counts go far."""
    return found.counts and max(found.levels["q97.5"].max(), found.rows["observed"].max()) > WIDE


def _root(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))


def _overall(axes: Axes, found: Predictive) -> None:
    """All rows together."""
    from_arviz.predictive(
        axes, found.replicates, "ecdf" if found.counts else "kde",
        new={"color": POSTERIOR.color, "alpha": 0.3, "width": 0.7}, seen={"color": INK, "width": 1.6},
    )  # fmt: skip
    if _skewed(found):
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xlim(0.0, None)
    axes.set_title("all rows: observed (dark) and replicates", loc="left", fontweight="normal", fontsize=8.5)
    axes.set_xlabel("")
    axes.set_ylabel("")
    if not found.counts:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(few_ticks(8))
    tidy_axes(axes)
