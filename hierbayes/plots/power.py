"""Power over the size of a study, with its Monte Carlo intervals and what failed."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hierbayes.study.result import Power, sizes_of

from .style import COMPLETE, FAINT, INK, NO_POOLING, POSTERIOR, REML, WIDTH, Mark, few_ticks, look, tidy_axes

MARKS = (REML, POSTERIOR, NO_POOLING, COMPLETE)
"""How the curves are drawn, in their order; a fifth begins anew."""


def power_figure(
    found: Power | pd.DataFrame,
    over: str | None = None,
    target: float | None = 0.8,
    title: str = "",
    quantity: str | None = None,
    unit: str | None = None,
) -> Figure:
    """Draw the share of successful studies against the size of the study.

    Parameters
    ----------
    found : Power or pandas.DataFrame
        What `hierbayes.power` gave, or its table.
    over : str, optional
        The column across the page, such as ``"groups"`` or ``"n"``; by default the first size that varies. There is
        a curve for every combination of the other sizes that vary.
    target : float or None, default 0.8
        Where to draw a line.
    title : str
    quantity : str
        What the share is called: ``"power"`` or ``"assurance"``; by default as `found` says, and of a table power.
    unit : str, optional
        What `over` counts, for the axis; by default its name.

    Returns
    -------
    matplotlib.figure.Figure
        Bands are 95% intervals of the Monte Carlo error. Where studies failed, a bar spans what the share would be if
        none or all of them had succeeded, with their number above it.

    Raises
    ------
    ValueError
        If `over` is no column.
    """
    table = found.table if isinstance(found, Power) else found
    if quantity is None:
        quantity = found.target if isinstance(found, Power) else "power"
    sizes = sizes_of(table)
    varying = [name for name in sizes if len(table[name].unique()) > 1]
    over = (varying or sizes)[0] if over is None else over
    if over not in (*sizes, "n"):
        raise ValueError(f"over= is one of {', '.join(map(repr, (*sizes, 'n')))}, not {over!r}.")
    others = [name for name in varying if name != over]
    if over == "n" and len(varying) > 1:
        others = varying[1:]
    numeric = pd.api.types.is_numeric_dtype(table[over])
    if not numeric:  # sizes in words stay in the order of the table
        table = table.assign(**{over: table[over].astype(str)})
    curves = list(table.groupby(others, sort=False)) if others else [((), table)]
    with look():
        figure = Figure(figsize=(WIDTH, 0.52 * WIDTH), layout="constrained")
        axes = figure.subplots()
        for number, (fixed, curve) in enumerate(curves):
            label = ", ".join(f"{name} = {_short(value)}" for name, value in zip(others, fixed, strict=True))
            _curve(axes, curve.sort_values(over) if numeric else curve, over, MARKS[number % len(MARKS)], label)
        if target is not None:
            axes.axhline(target, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
            axes.annotate(
                f"{target:g}", (1.0, target), xycoords=("axes fraction", "data"), xytext=(3, 0),
                textcoords="offset points", va="center", fontsize=8.0,
            )  # fmt: skip
        axes.set(xlabel=over if unit is None else unit, ylabel=quantity, ylim=(-0.02, 1.04))
        axes.yaxis.set_major_locator(few_ticks(6))
        if numeric:
            axes.xaxis.set_major_locator(few_ticks(8))
        if title:
            axes.set_title(title, loc="left", fontsize=11.0)
        if others:
            axes.legend(loc="lower right")
        tidy_axes(axes, "both")
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, over: str, mark: Mark, label: str) -> None:
    """One curve with its band and its failures."""
    x = curve[over]
    low, high = curve["conf_low"], curve["conf_high"]
    axes.fill_between(x, low, high, color=mark.color, alpha=0.1, linewidth=0.0, zorder=1.0)
    for edge in (low, high):  # where bands overlap, their edges tell them apart
        axes.plot(x, edge, color=mark.color, linestyle=mark.line, linewidth=0.7, alpha=0.6, zorder=1.5)
    shape: dict[str, Any] = {**mark.points(), "linestyle": mark.line, "linewidth": 1.8, "color": mark.color}
    axes.plot(x, curve["power"], label=label, zorder=3.0, **shape)
    lost = curve[curve["failed"] > 0]
    for at, least, most, count in zip(lost[over], lost["power_min"], lost["power_max"], lost["failed"], strict=True):
        axes.plot([at, at], [least, most], color=INK, linewidth=1.2, marker="_", markersize=6.0)
        axes.annotate(
            f"{count} failed", (at, most), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=7.5,
            bbox={"facecolor": FAINT, "edgecolor": "none", "pad": 1.0, "alpha": 0.7},
        )  # fmt: skip


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
