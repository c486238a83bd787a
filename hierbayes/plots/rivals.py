"""Prediction errors of several methods, in known and in new clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .style import INK, WIDTH, Mark, few_ticks, handles, legend, look, tidy_axes

if TYPE_CHECKING:
    from hierbayes.rivals.result import CrossValidation

KNOWN = Mark("random folds: groups known", "#0072b2", "o", "-")
NEW = Mark("grouped folds: groups new", "#d55e00", "D", "-")
HEIGHT = 0.44
"""Inches of a method."""
APART = 0.17
"""Of the two schemes, in rows of the axis."""


def cross_validation_figure(validation: CrossValidation, title: str = "") -> Figure:
    """Draw the RMSE of each method under both schemes, with one standard error to each side.

    Parameters
    ----------
    validation : CrossValidation
        Of `hierbayes.cross_validate`.
    title : str, default ""
        Above the axes.

    Returns
    -------
    matplotlib.figure.Figure
        One line a method, from the top in the order of the table; where a method says nothing of a scheme, a
        note stands in place of its marker. A hollow marker is an RMSE over fewer rows than there were, which is not
        comparable with the others; how many stands beside it.
    """
    table = validation.table
    names = list(table["method"].unique())
    marks = dict(zip(table["scheme"].unique(), ((KNOWN, APART), (NEW, -APART)), strict=True))
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * len(names) + 1.1), layout="constrained")
        axes = figure.subplots()
        low = float(np.nanmin(table["rmse"] - table["rmse_se"].fillna(0.0)))
        middle = 0.5 * (low + float(np.nanmax(table["rmse"] + table["rmse_se"].fillna(0.0))))
        for _, row in table.iterrows():
            mark, above = marks[row["scheme"]]
            y, rmse, error = len(names) - 1 - names.index(row["method"]) + above, row["rmse"], row["rmse_se"]
            error = 0.0 if np.isnan(error) else error
            if np.isnan(rmse):
                text = f"no prediction ({row['scheme']})"
                axes.text(low, y, text, color=mark.color, fontsize=7.5, va="center", style="italic")
                continue
            axes.plot([rmse - error, rmse + error], [y, y], color=mark.color, linewidth=1.6, solid_capstyle="butt")
            whole = row["n"] == validation.n_rows
            axes.plot([rmse], [y], **replace(mark, filled=whole).points(6.0))
            if not whole:
                right = rmse < middle
                axes.annotate(
                    f"{row['n']} of {validation.n_rows} rows",
                    (rmse + error if right else rmse - error, y),
                    (4 if right else -4, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    color=mark.color,
                    fontsize=7.5,
                    style="italic",
                )
        axes.set_yticks(range(len(names))[::-1], names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.xaxis.set_major_locator(few_ticks(6))
        axes.set_xlabel(f"RMSE, in units of {validation.response} (± 1 standard error over folds)", color=INK)
        axes.set_title(title, loc="left")
        axes.spines["left"].set_visible(False)
        tidy_axes(axes)
        axes.tick_params(axis="y", length=0)
        legend(figure, handles(KNOWN, NEW))
    return figure
