"""Where the variance of the response comes from, by both inferences.

Drawn with matplotlib alone: shares of both inferences side by side are no plot of ArviZ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import POSTERIOR, REML, WIDTH, Mark, few_ticks, handles, legend, look, tidy_axes

HEIGHT = 0.46
"""Inches of a component."""
APART = 0.19
"""Of the two inferences, in rows."""


def variance_figure(
    posterior: pd.DataFrame | None, maximum: pd.DataFrame | None = None, method: str | None = None
) -> Figure:
    """Draw the share of the variance that fixed effects, each grouping factor and the residuals have.

    Parameters
    ----------
    posterior : pandas.DataFrame or None
        Of ``fit.variance_partition()``.
    maximum : pandas.DataFrame, optional
        Of ``reml.variance_partition()``; with a bootstrap its intervals are drawn too.
    method : str, optional
        What the maximum is by; by default as its table's ``attrs`` say, else REML.

    Returns
    -------
    matplotlib.figure.Figure
        One line a component; of families that are not Gaussian one panel for each scale, latent and response.

    Raises
    ------
    ValueError
        If there is no table, or one is not of ``variance_partition()``.
    """
    if method is None:
        method = REML.label if maximum is None else getattr(maximum, "attrs", {}).get("method", REML.label)
    tables = {replace(REML, label=method): maximum, POSTERIOR: posterior}
    given = {mark: table for mark, table in tables.items() if table is not None}
    if not given or not all(isinstance(each, pd.DataFrame) and "share" in each for each in given.values()):
        raise ValueError("Give the table of fit.variance_partition(), of reml.variance_partition(), or both.")
    first = next(iter(given.values()))
    scales = list(dict.fromkeys(first["scale"])) if "scale" in first else [""]
    parts = {
        scale: {mark: table[table["scale"] == scale] if scale else table for mark, table in given.items()}
        for scale in scales
    }
    heights = [len(next(iter(part.values()))) for part in parts.values()]
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * sum(heights) + 0.5 * len(scales) + 0.55), layout="constrained")
        grid = figure.subplots(len(scales), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})
        for axes, (scale, part) in zip(grid.flat, parts.items(), strict=True):
            _panel(axes, part)
            if scale:
                axes.set_title(f"{scale} scale", loc="left")
        grid[-1, 0].set_xlabel("share of the variance (%)")
        entries = handles(*given)
        entries[-1].set_label(f"{entries[-1].get_label()} mean and interval" if posterior is not None else method)
        legend(figure, entries)
    return figure


def _panel(axes: Axes, tables: dict[Mark, pd.DataFrame]) -> None:
    keys = [_name(row) for _, row in next(iter(tables.values())).iterrows()]
    for number, (mark, table) in enumerate(tables.items()):
        for _, row in table.iterrows():
            y = len(keys) - 1 - keys.index(_name(row)) + (0.0 if len(tables) == 1 else APART * (1 - 2 * number))
            share, low, high = (100.0 * float(row[name]) for name in ("share", "share_low", "share_high"))
            if np.isnan(share):
                axes.text(1.0, y, "not known", fontsize=7.5, style="italic", va="center", color=mark.color)
                continue
            axes.barh(y, share, height=1.7 * APART, color=mark.color, alpha=0.22, linewidth=0.0, zorder=1.0)
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [y, y], color=mark.color, linewidth=1.8, solid_capstyle="butt", zorder=1.6)
            axes.plot([share], [y], **mark.points(5.4), zorder=2.0, clip_on=False)
    axes.set_yticks(range(len(keys))[::-1], keys)
    axes.set_ylim(-0.6, len(keys) - 0.4)
    axes.set_xlim(0.0, 100.0)
    axes.xaxis.set_major_locator(few_ticks(5))
    tidy_axes(axes)
    axes.tick_params(axis="y", length=0)


def _name(row: pd.Series) -> str:
    """A component in words."""
    if row["component"] == "random":
        return "several factors jointly" if row["group"] == "jointly" else f"levels of {row['group']}"
    return {"fixed": "fixed effects", "residual": "residuals"}.get(str(row["component"]), str(row["component"]))
