"""Data by group, with the lines of complete, no and partial pooling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

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
    shortened,
    tidy_axes,
)

if TYPE_CHECKING:
    from hierbayes.partial_pooling.shrinkage import GroupLines

ACROSS = 4
LONG = 18
"""Letters of a name above a panel."""
LINES: dict[str, tuple[Mark, float]] = {
    "complete": (COMPLETE, 1.3),
    "none": (NO_POOLING, 1.5),
    "reml": (REML, 2.0),
    "posterior": (POSTERIOR, 1.4),
}
"""How each kind of pooling is drawn, and how wide its line is."""


def groups_figure(lines: GroupLines | None) -> Figure | None:
    """Draw the rows of some levels and the lines through them.

    Parameters
    ----------
    lines : GroupLines or None
        Of `hierbayes.pooling_lines`.

    Returns
    -------
    matplotlib.figure.Figure or None
        One panel a level, all on the same axes; None where there is nothing to draw along.
    """
    if lines is None:
        return None
    columns = min(ACROSS, len(lines.levels))
    rows = math.ceil(len(lines.levels) / columns)
    crowd = len(lines.points) / len(lines.levels)
    with look():
        figure = Figure(figsize=(WIDTH, 1.55 * rows + 0.65), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        points = dict(list(lines.points.groupby("level", sort=False)))
        drawn = dict(list(lines.lines.groupby("level", sort=False)))
        for number, axes in enumerate(grid.flat):
            if number >= len(lines.levels):
                axes.set_visible(False)
                grid.flat[number - columns].tick_params(labelbottom=True)
                continue
            level = lines.levels[number]
            here = points[level]
            axes.plot(
                here["x"], here["y"], linestyle="none", marker="o", markersize=3.4 if crowd <= 40 else 2.2,
                markerfacecolor=INK, markeredgewidth=0.0, alpha=0.75 if crowd <= 40 else 0.35,
            )  # fmt: skip
            for _, line in drawn[level].iterrows() if level in drawn else []:
                mark, width = LINES[line["pooling"]]
                axes.plot(
                    [line["x0"], line["x1"]], [line["y0"], line["y1"]],
                    color=mark.color, linestyle=mark.line, linewidth=width,
                )  # fmt: skip
            axes.set_title(shortened(str(level), LONG), loc="left", pad=3)
            axes.xaxis.set_major_locator(few_ticks(4, (1, 2, 3, 5, 10)))
            axes.yaxis.set_major_locator(few_ticks(4))
            tidy_axes(axes, "both")
        figure.supxlabel(lines.predictor, fontsize=9, color=INK)
        figure.supylabel(lines.response, fontsize=9, color=INK)
        partial = (replace(mark, label=f"partial pooling, {mark.label}") for mark in (REML, POSTERIOR))
        legend(figure, handles(COMPLETE, NO_POOLING, *partial, line=True))
    return figure
