"""Residual panel: against fitted values, normal quantiles, spread, and by group.

Drawn with matplotlib alone: ArviZ has no plots of residuals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import INK, NO_POOLING, POSTERIOR, REML, WIDTH, few_ticks, look, shortened, tidy_axes

if TYPE_CHECKING:
    from hierbayes.side_by_side.residuals import ResidualPanel

MANY = 400
"""More points than this are small and faint."""
MOST = 1500
"""Of more rows so many, evenly spaced, are drawn, and those far out."""
FAR = 3.0
"""Residuals further out have names, at most so many."""
NAMED = 4
LEVELS = 30
"""Of more levels the ends are drawn."""
LONG = 16


def residuals_figure(panel: ResidualPanel) -> Figure:
    """Draw residuals against fitted values, normal quantiles, their spread, and groups.

    Parameters
    ----------
    panel : ResidualPanel
        Of `hierbayes.residual_panel`.

    Returns
    -------
    matplotlib.figure.Figure
        Four panels. Orange lines are moving means, dashes what is expected of a right model; the band of the Q-Q plot
        is a pointwise 95% envelope; boxes by group are quartiles with the range. Names are those of rows beyond ±3.
    """
    with look():
        figure = Figure(figsize=(WIDTH, 0.86 * WIDTH), layout="constrained")
        (top, quantile), (bottom, groups) = figure.subplots(2, 2)
        _against(top, panel, "residual", panel.kind, 0.0)
        top.set_title("Residuals against fitted values", loc="left")
        _normal(quantile, panel)
        _against(bottom, panel, "root", f"√|{panel.kind}|", panel.expected_root)
        bottom.set_title("Spread against fitted values", loc="left")
        _groups(groups, panel)
    return figure


def _dots(count: int) -> dict[str, Any]:
    size, alpha = (2.0, 0.4) if count > MANY else (3.2, 0.65)
    return {"linestyle": "none", "marker": "o", "markersize": size, "markerfacecolor": REML.color,
            "markeredgewidth": 0.0, "alpha": alpha}  # fmt: skip


def _against(axes: Axes, panel: ResidualPanel, column: str, label: str, expected: float) -> None:
    rows = panel.table.dropna(subset=["fitted", "residual"])
    axes.set_ylabel(label)
    axes.set_xlabel("fitted value")
    tidy_axes(axes, "both")
    if not len(rows):
        axes.set(xlabel="", ylabel="", xticks=[], yticks=[])
        axes.text(0.5, 0.5, "there are no fitted values", ha="center", va="center", transform=axes.transAxes)
        return
    far = rows[rows["residual"].abs() > FAR]
    even = np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(int)
    few = rows.loc[rows.index[even].union(far.index)]
    axes.plot(few["fitted"], few[column], **_dots(len(few)), zorder=1.5)
    axes.axhline(expected, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.8)
    axes.plot(panel.trend["fitted"], panel.trend[column], color=POSTERIOR.color, linewidth=1.8, zorder=2.2)
    for at in far["residual"].abs().sort_values(ascending=False, kind="stable").index[:NAMED]:
        right = rows.loc[at, "fitted"] > 0.5 * (rows["fitted"].min() + rows["fitted"].max())
        axes.annotate(
            shortened(str(rows.loc[at, "row"]), LONG), (rows.loc[at, "fitted"], rows.loc[at, column]),
            xytext=(-4 if right else 4, 0), textcoords="offset points", fontsize=7.0, va="center",
            ha="right" if right else "left", color=INK,
        )  # fmt: skip
    axes.xaxis.set_major_locator(few_ticks(5))
    axes.yaxis.set_major_locator(few_ticks(6))


def _normal(axes: Axes, panel: ResidualPanel) -> None:
    qq = panel.qq
    axes.fill_between(qq["theoretical"], qq["low"], qq["high"], color=NO_POOLING.color, alpha=0.25, linewidth=0.0)
    ends = np.array([qq["theoretical"].min(), qq["theoretical"].max()]) if len(qq) else np.zeros(2)
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.8)
    few = qq.iloc[_thinned(len(qq))]
    axes.plot(few["theoretical"], few["sample"], **_dots(len(few)), zorder=2.0)
    axes.set_xlabel("normal quantile")
    axes.set_ylabel(panel.kind)
    axes.set_title(f"Normal Q-Q: {panel.outside} of {len(qq):,} outside", loc="left")
    axes.xaxis.set_major_locator(few_ticks(6))
    axes.yaxis.set_major_locator(few_ticks(6))
    tidy_axes(axes, "both")


def _thinned(count: int) -> np.ndarray:
    """Positions of the points drawn: all, or the ends and some between."""
    if count <= MOST:
        return np.arange(count)
    ends = 200
    middle = np.linspace(ends, count - ends - 1, MOST - 2 * ends).round().astype(int)
    return np.r_[np.arange(ends), middle, np.arange(count - ends, count)]


def _groups(axes: Axes, panel: ResidualPanel) -> None:
    levels = panel.levels
    axes.set_title(f"By {panel.group}" if panel.group else "By group", loc="left")
    if not len(levels):
        axes.text(0.5, 0.5, "there are no groups", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    total = len(levels)
    if total > LEVELS:
        half = LEVELS // 2
        levels = levels.iloc[np.r_[0:half, total - half : total]]
        axes.set_title(f"By {panel.group}: {half} lowest and highest of {total:,}", loc="left")
    x = np.arange(len(levels), dtype=float)
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.0)
    axes.vlines(x, levels["low"], levels["high"], color=REML.color, linewidth=0.9, zorder=1.4)
    axes.vlines(x, levels["q25"], levels["q75"], color=REML.color, linewidth=5.0, alpha=0.55, zorder=1.5)
    axes.plot(x, levels["q50"], **REML.points(3.0), zorder=2.0)
    axes.set_xticks(x, [shortened(str(name), LONG) for name in levels["level"]], rotation=90, fontsize=7.0)
    axes.set_ylabel(panel.kind)
    axes.yaxis.set_major_locator(few_ticks(6))
    tidy_axes(axes, "y")
    axes.tick_params(axis="x", length=0)
