"""Shrinkage in two dimensions: how pooling moves two effects of every level, with the ellipses of levels.

Drawn with matplotlib alone: no plot of ArviZ has arrows from one inference to another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import (
    FAINT,
    INK,
    NO_POOLING,
    POSTERIOR,
    REML,
    WIDTH,
    few_ticks,
    handles,
    legend,
    look,
    shortened,
    tidy_axes,
)

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.side_by_side.plane import Plane

MANY = 60
"""With more levels than this markers are small and paths faint."""
LABELLED = 6
"""Names of so many levels that pooling moves furthest."""
LONG = 20
"""Letters of a name."""
OUTLINES = {0.5: 1.9, 0.95: 1.1}
"""Width of the outline of each share of levels."""


def plane_figure(plane: Plane) -> Figure:
    """Draw two effects of every level without pooling, by REML or ML and in the posterior.

    Parameters
    ----------
    plane : Plane
        Of `hierbayes.plane`.

    Returns
    -------
    matplotlib.figure.Figure
        A path a level: from no pooling to the maximum, then to the posterior. Thick and thin ellipses hold half and
        95% of levels; of a singular covariance they are lines, and the title says so. Estimates without pooling that
        lie far outside are cut off and counted.
    """
    parts = {name: part.set_index("level")[["x", "y"]] for name, part in plane.table.groupby("inference", sort=False)}
    kinds = {"no pooling": NO_POOLING, plane.method: replace(REML, label=plane.method), "posterior": POSTERIOR}
    marks = {name: kinds[name] for name in parts}
    many = plane.shown > MANY
    with look():
        figure = Figure(figsize=(WIDTH, 0.74 * WIDTH), layout="constrained")
        axes = figure.subplots()
        low, high, beyond = _window(plane, parts)
        axes.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0.5)
        axes.axvline(0.0, color=FAINT, linewidth=0.8, zorder=0.5)
        for (name, probability), outline in plane.ellipses.groupby(["inference", "probability"], sort=False):
            mark = marks[str(name)]
            axes.plot(
                outline["x"], outline["y"], color=mark.color, linestyle=mark.line, zorder=1.2,
                linewidth=OUTLINES.get(float(probability), 1.0), alpha=0.9,
            )  # fmt: skip
        _paths(axes, list(parts.values()), many)
        for order, (name, part) in enumerate(parts.items()):
            style = marks[name].points(2.6 if many else 4.8)
            axes.plot(part["x"], part["y"], **style, zorder=2.0 + 0.2 * order, alpha=0.6 if many else 1.0)
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        if "no pooling" in parts and not many:
            _names(axes, parts, low, high)
        axes.set_xlabel(f"{plane.x}, deviation from the average")
        axes.set_ylabel(f"{plane.y}, deviation from the average")
        axes.set_title("\n".join(_title(plane, beyond)), loc="left", fontweight="normal", fontsize=8.5)
        axes.xaxis.set_major_locator(few_ticks(6))
        axes.yaxis.set_major_locator(few_ticks(6))
        tidy_axes(axes, "both")
        shape = [Line2D([], [], color=INK, linewidth=width, label=f"{100 * p:g}%") for p, width in OUTLINES.items()]
        legend(figure, handles(*marks.values()) + shape)
    return figure


def _title(plane: Plane, beyond: int) -> list[str]:
    """What the figure cannot show by itself."""
    some = "" if plane.shown == plane.total else f"{plane.shown:,} of "
    lines = [f"{some}{plane.total:,} levels of {plane.group}; ellipses hold 50% and 95% of levels"]
    if beyond:
        lines[0] += f"; {beyond} without pooling outside"
    return [*lines, *([plane.note] if plane.note else [])]


def _window(plane: Plane, parts: dict[str, pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, int]:
    """Corners of the figure, and how many estimates without pooling lie outside them."""
    pooled = [part.to_numpy() for name, part in parts.items() if name != "no pooling"]
    near = np.vstack([*pooled, plane.ellipses[["x", "y"]].to_numpy()])
    low, high = np.nanmin(near, axis=0), np.nanmax(near, axis=0)
    reach = np.where(high > low, high - low, 1.0)
    own, beyond = parts.get("no pooling"), 0
    if own is not None and own.notna().all(axis=1).any():
        found = own.dropna().to_numpy()
        low = np.minimum(low, np.maximum(found.min(axis=0), low - 0.75 * reach))
        high = np.maximum(high, np.minimum(found.max(axis=0), high + 0.75 * reach))
        beyond = int(((found < low) | (found > high)).any(axis=1).sum())
    room = 0.04 * np.where(high > low, high - low, 1.0)
    return low - room, high + room, beyond


def _paths(axes: Axes, stops: list[pd.DataFrame], many: bool) -> None:
    """From stop to stop, with the head of an arrow on the last step of each level that moves visibly."""
    steps = np.stack([stop.to_numpy() for stop in stops], axis=1)
    known = np.isfinite(steps).all(axis=(1, 2))
    lines = LineCollection(
        list(steps[known]), colors=NO_POOLING.color, linewidths=0.4 if many else 0.9, zorder=1.1,
        alpha=0.35 if many else 1.0,
    )  # fmt: skip
    axes.add_collection(lines, autolim=False)
    if many or len(stops) < 2:
        return
    first, second = steps[known, 0], steps[known, 1]
    middle = 0.45 * first + 0.55 * second
    for tail, head in zip(first, middle, strict=True):
        axes.annotate(
            "", xy=tuple(head), xytext=tuple(tail), annotation_clip=True, zorder=1.7,
            arrowprops={"arrowstyle": "->", "color": NO_POOLING.color, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0,
                        "mutation_scale": 7},
        )  # fmt: skip


def _names(axes: Axes, parts: dict[str, pd.DataFrame], low: np.ndarray, high: np.ndarray) -> None:
    """Names of the levels that move furthest, at their estimates without pooling."""
    own, pooled = parts["no pooling"], parts["posterior"]
    moved = np.hypot(*((own - pooled).to_numpy() / (high - low)).T)
    inside = ((own >= low) & (own <= high)).all(axis=1).to_numpy()
    moved = np.where(inside & np.isfinite(moved), moved, -np.inf)
    for at in np.argsort(-moved, kind="stable")[:LABELLED]:
        if moved[at] < 0.03:
            break
        x, y = own.iloc[at]
        right = x < pooled["x"].iloc[at]
        axes.annotate(
            shortened(str(own.index[at]), LONG), (x, y), xytext=(-5 if right else 5, 0), textcoords="offset points",
            fontsize=7.5, ha="right" if right else "left", va="center", color=INK,
        )  # fmt: skip
