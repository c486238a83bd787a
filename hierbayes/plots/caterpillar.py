"""Caterpillar: effects of the levels in their order, with the intervals of both inferences.

Drawn with matplotlib alone: ArviZ's forest has one row a variable, in the order of the data, and one inference a
colour.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import INK, PAPER, POSTERIOR, REML, WIDTH, Mark, few_ticks, handles, legend, look, shortened, tidy_axes

MANY = 60
"""Of more levels only the ends are drawn."""
ENDS = 20
"""Levels at each end."""
Z = 1.959963984540054
"""Half a 95% interval in standard deviations."""
APART = 0.17
"""Of the two inferences, in rows."""
LONG = 24
"""Letters of a name that are shown."""
ACROSS = 2


def caterpillar_figure(
    table: pd.DataFrame, factor: str | None = None, method: str | None = None, effect_name: str | None = None
) -> Figure:
    """Draw the effects of every level, each effect in its own order, with 95% intervals of both inferences.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `hierbayes.shrinkage` or `hierbayes.level_effects`; without the column ``blup`` the posterior stands alone.
    factor : str, optional
        Grouping factor; by default the first of the table.
    method, effect_name : str, optional
        What the column ``blup`` is by, and what it is; by default as the table's ``attrs`` say, else BLUPs by REML.

    Returns
    -------
    matplotlib.figure.Figure
        A panel an effect, sorted by the posterior mean. Intervals of the maximum are ± 1.96 conditional standard
        deviations, which take variances and fixed effects as known; those of the posterior are equal-tailed. Of more
        than `MANY` levels the `ENDS` smallest and largest are drawn, and the gap says how many there are between.

    Raises
    ------
    ValueError
        If the table has no such factor, or is not of effects of levels.
    """
    table, factor = of_factor(table, factor)
    method = method or table.attrs.get("method", REML.label)
    effect_name = effect_name or table.attrs.get("effect_name", "BLUP")
    effects = list(dict.fromkeys(table["effect"]))
    marks = [replace(REML, label=f"{method} {effect_name}"), POSTERIOR] if "blup" in table else [POSTERIOR]
    with look():
        columns = min(ACROSS, len(effects))
        rows = -(-len(effects) // columns)
        levels = len(table) // len(effects)
        lines = levels if levels <= MANY else 2 * ENDS + 2
        figure = Figure(figsize=(WIDTH, rows * (0.185 * lines + 0.75) + 0.35), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(effects) :]:
            axes.set_visible(False)
        for axes, effect in zip(grid.flat, effects, strict=False):
            _panel(axes, table[table["effect"] == effect].sort_values("mean", kind="stable"), marks)
            axes.set_title(f"{effect}: {levels:,} {'level' if levels == 1 else 'levels'} of {factor}", loc="left")
        named = handles(*marks)
        for handle in named:
            handle.set_label(f"{handle.get_label()} and 95% interval")
        legend(figure, named)
    return figure


def of_factor(table: pd.DataFrame, factor: str | None) -> tuple[pd.DataFrame, str]:
    """Effects of one grouping factor, by default of the first, and its name."""
    if not isinstance(table, pd.DataFrame) or not {"group", "effect", "level", "mean"} <= set(table):
        raise ValueError("Give the table of fit.shrinkage() or hb.level_effects(fit).")
    groups = list(dict.fromkeys(table["group"]))
    factor = groups[0] if factor is None and groups else factor
    if factor is None or factor not in groups:
        raise ValueError(
            f"The table has no effects of {factor!r}; it has those of {', '.join(groups) or 'no factor'}."
        )
    return table[table["group"] == factor], factor


def _panel(axes: Axes, part: pd.DataFrame, marks: list[Mark]) -> None:
    """One effect."""
    gap = 0
    places = np.arange(len(part), dtype=float)
    if len(part) > MANY:
        gap = len(part) - 2 * ENDS
        part = pd.concat([part.iloc[:ENDS], part.iloc[-ENDS:]])
        places = np.r_[np.arange(ENDS), np.arange(ENDS) + ENDS + 1.5]
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=0.6)
    for number, mark in enumerate(marks):
        if mark is POSTERIOR:
            middle, low, high = (part[name].to_numpy(dtype=float) for name in ("mean", "q2.5", "q97.5"))
        else:
            middle, sd = part["blup"].to_numpy(dtype=float), part["blup_sd"].to_numpy(dtype=float)
            low, high = middle - Z * sd, middle + Z * sd
        y = places + (0.0 if len(marks) == 1 else APART * (2 * number - 1))
        axes.hlines(y, low, high, color=mark.color, linewidth=1.2, zorder=1.5, label=mark.label)
        axes.plot(middle, y, **mark.points(3.8), zorder=2.0)
    if gap:
        axes.text(
            0.5, ENDS + 0.25, f"{gap:,} levels between", transform=axes.get_yaxis_transform(), fontsize=8.0,
            ha="center", va="center", style="italic", color=INK,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    axes.set_yticks(places, [shortened(str(level), LONG) for level in part["level"]])
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_xlabel("deviation from the average")
    axes.xaxis.set_major_locator(few_ticks(5))
    axes.spines["left"].set_visible(False)
    tidy_axes(axes)
    axes.tick_params(axis="y", length=0)
