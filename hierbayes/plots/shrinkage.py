"""What partial pooling does to each level: from its own estimate to its BLUP or mode and to the posterior."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from .caterpillar import of_factor
from .style import (
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
    shortened,
    tidy_axes,
)

MANY = 60
"""With more levels than this, a cloud of points replaces one line a level."""
CROWD = 1500
"""With more levels than this, points lie on top of each other and are counted in hexagons."""
LONG = 24
"""Letters of a name that are shown."""
ACROSS = 3
"""Panels beside each other."""


def shrinkage_figure(
    table: pd.DataFrame, factor: str | None = None, method: str | None = None, effect: str | None = None
) -> Figure:
    """Draw the effects of every level without pooling, by REML or ML and in the posterior.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `hierbayes.partial_pooling.shrinkage.shrinkage`; what the columns ``no_pooling`` and ``blup`` would hold is
        not drawn where they are missing.
    factor : str, optional
        Grouping factor; by default the first of the table.
    method, effect : str, optional
        What the column ``blup`` is by, and what it is; by default as the table's ``attrs`` say, else BLUPs by REML.

    Returns
    -------
    matplotlib.figure.Figure
        Up to `MANY` levels, one line a level, sorted by the posterior mean of the first effect. Beyond, one row
        of two panels per effect: pooled against unpooled, or the posterior alone without that column, and posterior
        mean against BLUP.

    Raises
    ------
    ValueError
        If the table has no such factor, or is not of effects of levels.
    """
    table, factor = of_factor(table, factor)
    method = method or table.attrs.get("method", REML.label)
    effect = effect or table.attrs.get("effect_name", "BLUP")
    effects = list(dict.fromkeys(table["effect"]))
    parts = {effect: table[table["effect"] == effect] for effect in effects}
    with look():
        if len(parts[effects[0]]) > MANY:
            return _clouds(parts, factor, f"{method} {effect}")
        return _ladder(parts, factor, replace(REML, label=method))


def _ladder(parts: dict[str, pd.DataFrame], factor: str, mark: Mark) -> Figure:
    """One line a level."""
    effects = list(parts)
    order = np.argsort(parts[effects[0]]["mean"].to_numpy(), kind="stable")
    levels = len(order)
    columns = min(ACROSS, len(effects))
    rows = math.ceil(len(effects) / columns)
    height = 0.215 if levels <= 30 else 0.175
    figure = Figure(figsize=(WIDTH, rows * (height * levels + 0.75) + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(effects) :]:
        axes.set_visible(False)
    y = np.arange(levels, dtype=float)
    for axes, effect in zip(grid.flat, effects, strict=False):
        part = parts[effect].iloc[order]
        low, high = _window(part)
        own, blup, mean = (_values(part, name) for name in ("no_pooling", "blup", "mean"))
        exists = np.isfinite(own)
        inside = np.clip(own, low, high)
        axes.axvline(0.0, color=INK, linewidth=0.8, zorder=0.6)
        steps = [
            [(a, k - 0.16), (b, k - 0.16)] for a, b, k in zip(inside[exists], blup[exists], y[exists], strict=True)
        ]
        axes.add_collection(LineCollection(steps, colors=NO_POOLING.color, linewidths=0.9, zorder=1.5))
        axes.hlines(y + 0.2, part["q2.5"], part["q97.5"], color=POSTERIOR.color, linewidth=1.3, zorder=1.6)
        shown = exists & (own >= low) & (own <= high)
        axes.plot(own[shown], y[shown] - 0.16, **NO_POOLING.points(4.6), zorder=2)
        for beyond, marker in ((exists & (own < low), "<"), (exists & (own > high), ">")):
            axes.plot(inside[beyond], y[beyond] - 0.16, **{**NO_POOLING.points(5.0), "marker": marker}, zorder=2)
        axes.plot(blup, y - 0.16, **mark.points(4.2), zorder=2.2)
        axes.plot(mean, y + 0.2, **POSTERIOR.points(3.8), zorder=2.4)
        axes.set_title(effect, loc="left")
        axes.set_xlabel("deviation from the average")
        axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axes.xaxis.set_major_locator(few_ticks(6))
        axes.set_ylim(levels - 0.4, -0.6)
        tidy_axes(axes, "y")
        axes.tick_params(axis="y", length=0)
    for row in grid:
        row[0].set_yticks(y, [shortened(str(level), LONG) for level in parts[effects[0]]["level"].iloc[order]])
        row[0].set_ylabel(factor)
    band = handles(POSTERIOR)
    band[0].set_label("posterior mean and 95% interval")
    known = {"no_pooling": NO_POOLING, "blup": mark}
    legend(figure, handles(*(known[name] for name in known if name in parts[effects[0]])) + band)
    return figure


def _values(part: pd.DataFrame, column: str) -> np.ndarray:
    """A column of the table, NaN where there is none."""
    return part[column].to_numpy(dtype=float) if column in part else np.full(len(part), np.nan)


def _window(part: pd.DataFrame) -> tuple[float, float]:
    """Range of a panel: all pooled estimates, and estimates without pooling up to three times as far."""
    pooled = np.concatenate([_values(part, name) for name in ("blup", "q2.5", "q97.5")])
    low, high = float(np.nanmin(pooled)), float(np.nanmax(pooled))
    reach = high - low
    own = _values(part, "no_pooling")
    own = own[np.isfinite(own)]
    if own.size:
        low = min(low, max(float(own.min()), low - reach))
        high = max(high, min(float(own.max()), high + reach))
    return low, high


def _clouds(parts: dict[str, pd.DataFrame], factor: str, blups: str) -> Figure:
    """Two panels per effect: pooled against unpooled or the posterior by rank, posterior against BLUP."""
    side = 0.5 * WIDTH
    figure = Figure(figsize=(WIDTH, len(parts) * (side - 0.35) + 0.3), layout=ConstrainedLayoutEngine(w_pad=0.1))
    grid = figure.subplots(len(parts), 2, squeeze=False)
    for (left, right), (effect, part) in zip(grid, parts.items(), strict=True):
        own, blup, mean = (_values(part, name) for name in ("no_pooling", "blup", "mean"))
        levels = f"{len(part):,} levels of {factor}"
        if "no_pooling" in part:
            exists = np.isfinite(own)
            low, high = _window(part)
            beyond = int((exists & ((own < low) | (own > high))).sum())
            _cloud(left, own[exists], blup[exists], (low, high))
            left.set_xlabel("no pooling" + (f" ({beyond:,} of {len(part):,} levels are outside)" if beyond else ""))
            left.set_ylabel(blups)
            left.set_title(f"{effect}: shrinkage of {levels}", loc="left")
        else:
            _ranked(left, part)
            left.set_title(f"{effect}: {levels}", loc="left")
        if "blup" not in part:
            right.set_visible(False)
            continue
        _cloud(right, blup, mean, (float(min(blup.min(), mean.min())), float(max(blup.max(), mean.max()))))
        right.set_xlabel(blups)
        right.set_ylabel("posterior mean")
        right.set_title(f"{effect}: the two inferences", loc="left")
    return figure


def _ranked(axes: Axes, part: pd.DataFrame) -> None:
    """Posterior means in their order, with their intervals as a band."""
    part = part.sort_values("mean")
    rank = np.arange(1, len(part) + 1)
    low, mean, high = (_values(part, name) for name in ("q2.5", "mean", "q97.5"))
    axes.fill_between(rank, low, high, color=POSTERIOR.color, alpha=0.3, linewidth=0.0)
    axes.plot(rank, mean, color=POSTERIOR.color, linewidth=1.6)
    axes.axhline(0.0, color=INK, linewidth=0.7, zorder=0.6)
    axes.set_xlabel("levels, by posterior mean")
    axes.set_ylabel("posterior mean and 95% interval")
    axes.xaxis.set_major_locator(few_ticks(5))
    tidy_axes(axes, "both")


def _cloud(axes: Axes, x: np.ndarray, y: np.ndarray, window: tuple[float, float]) -> None:
    """Points, or counts in hexagons, with the line of equality."""
    if not x.size:
        axes.text(0.5, 0.5, "no level has an estimate of its own", ha="center", va="center", transform=axes.transAxes)
        return
    low, high = window
    pad = 0.04 * (high - low) or 1.0
    ends = (low - pad, high + pad)
    axes.axhline(0.0, color=INK, linewidth=0.7, zorder=0.6)
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
    if len(x) > CROWD:
        inside = (x >= low) & (x <= high)
        shades = LinearSegmentedColormap.from_list("counts", ["#a6cee8", REML.color, "#004577"], N=32)
        drawn = axes.hexbin(
            x[inside], y[inside], gridsize=42, mincnt=1, norm=LogNorm(), cmap=shades, linewidths=0.1,
            extent=(low, high, float(y.min()), float(y.max())),
        )  # fmt: skip
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, shrink=0.8, aspect=30, label="levels", format="{x:g}")
        bar.minorticks_off()
        bar.outline.set_visible(False)
    else:
        axes.plot(x, y, **{**REML.points(3.2), "markeredgewidth": 0.0, "alpha": 0.7, "marker": "o"}, zorder=2)
    axes.set_xlim(ends)
    room = 0.06 * float(np.ptp(y)) or pad
    axes.set_ylim(float(y.min()) - room, float(y.max()) + room)
    axes.xaxis.set_major_locator(few_ticks(5))
    tidy_axes(axes, "both")
