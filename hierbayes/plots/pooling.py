"""The pooling ladder: one slope by every way of treating the groups, estimate and interval of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import (
    COMPLETE,
    INK,
    NO_POOLING,
    POSTERIOR,
    REML,
    WIDTH,
    Mark,
    few_ticks,
    handles,
    legend,
    look,
    tidy_axes,
)

FAR = 1.5
"""Intervals are cut off where they reach so many times further than those of the partially pooled rows."""
LEAST_SQUARES = replace(NO_POOLING, label="least squares")


def pooling_figure(table: pd.DataFrame, term: str = "slope") -> Figure:
    """Draw the estimate and the interval of every row of the ladder.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `hierbayes.pooling`; rows without an estimate are named and say so.
    term : str, default "slope"
        Name of the coefficient, with its units, under the axis.

    Returns
    -------
    matplotlib.figure.Figure
        One line a row. Arrows stand for what lies beyond the axis, with the figure beside; singular fits are named.
    """
    count = len(table)
    low, high = _window(table)
    with look():
        figure = Figure(figsize=(WIDTH, 0.34 * count + 0.95), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.0, color=INK, linewidth=0.8, zorder=0.6)
        shown = []
        for y, (_, row) in enumerate(table.iterrows()):
            mark = _mark(str(row["model"]))
            estimate, start, end = (float(row[name]) for name in ("estimate", "conf_low", "conf_high"))
            if not np.isfinite(estimate):
                axes.text(low, y, " no estimate", va="center", fontsize=8, color=NO_POOLING.color)
                continue
            shown.append(mark)
            if np.isfinite(start) and np.isfinite(end):
                inside = np.clip([start, end], low, high)
                axes.plot(inside, [y, y], color=mark.color, linewidth=2.0, solid_capstyle="butt")
                for bound, tip, at in ((start, "<", low), (end, ">", high)):
                    if not low <= bound <= high:
                        axes.plot([at], [y], **{**mark.points(5.5), "marker": tip, "markerfacecolor": mark.color})
            if low <= estimate <= high:
                axes.plot([estimate], [y], **mark.points(6.0))
            else:
                side, where = ("right", high) if estimate > high else ("left", low)
                axes.text(where, y - 0.3, f"estimate {estimate:.3g}", ha=side, va="center", fontsize=7.5)
            if "singular" in str(row["note"]):
                axes.text(min(max(end, low), high), y - 0.3, "singular fit", ha="right", va="center", fontsize=7.5)
        axes.set_yticks(range(count), [str(name) for name in table["model"]])
        axes.set_ylim(count - 0.4, -0.6)
        axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
        axes.set_xlabel(f"{term}: estimate and interval")
        axes.xaxis.set_major_locator(few_ticks(6))
        axes.spines["left"].set_visible(False)
        tidy_axes(axes)
        axes.tick_params(axis="y", length=0)
        legend(figure, handles(*dict.fromkeys(shown)))
    return figure


def _mark(name: str) -> Mark:
    """How a row is drawn, by its name."""
    if name.startswith("REML"):
        return REML
    if name.startswith("Bayes"):
        return POSTERIOR
    return COMPLETE if name.startswith("complete") else LEAST_SQUARES


def _window(table: pd.DataFrame) -> tuple[float, float]:
    """Range of the axis: zero, all partially pooled rows, and others up to `FAR` times as far."""
    names = table["model"].astype(str)
    pooled = names.str.startswith(("REML", "Bayes")).to_numpy()
    ends = table[["estimate", "conf_low", "conf_high"]].to_numpy(dtype=float)
    inner = ends[pooled] if np.isfinite(ends[pooled]).any() else ends
    if not np.isfinite(inner).any():
        return -1.0, 1.0
    low, high = min(0.0, float(np.nanmin(inner))), max(0.0, float(np.nanmax(inner)))
    reach = (FAR - 1.0) * (high - low)
    all_low, all_high = float(np.nanmin(ends)), float(np.nanmax(ends))
    return min(low, max(all_low, low - reach)), max(high, min(all_high, high + reach))
