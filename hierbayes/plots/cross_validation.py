"""Prediction errors of several predictors, in known and in new clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .style import INK, WIDTH, Mark, few_ticks, handles, legend, look, tidy_axes

if TYPE_CHECKING:
    from hierbayes.across_clusters.validation import CrossValidation

KNOWN = Mark("random folds: clusters known", "#0072b2", "o", "-", filled=False)
NEW = Mark("grouped folds: clusters new", "#d55e00", "D", "-")
HEIGHT = 0.44
"""Inches of a predictor."""
APART = 0.17
"""Of the two schemes, in rows of the axis."""


def cross_validation_figure(validation: CrossValidation, title: str = "") -> Figure:
    """Draw the RMSE of each predictor under both schemes, with one standard error to each side.

    Parameters
    ----------
    validation : CrossValidation
        Of `hierbayes.cross_validate`.
    title : str, default ""
        Above the axes.

    Returns
    -------
    matplotlib.figure.Figure
        One line a predictor, from the top in the order of the table; where a predictor says nothing of a scheme, a
        note stands in place of its marker.
    """
    table = validation.table
    names = list(table["predictor"].unique())
    marks = dict(zip(table["scheme"].unique(), ((KNOWN, APART), (NEW, -APART)), strict=True))
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * len(names) + 1.1), layout="constrained")
        axes = figure.subplots()
        low = float(np.nanmin(table["rmse"] - table["rmse_se"].fillna(0.0)))
        for _, row in table.iterrows():
            mark, above = marks[row["scheme"]]
            y, rmse, error = len(names) - 1 - names.index(row["predictor"]) + above, row["rmse"], row["rmse_se"]
            if np.isnan(rmse):
                text = f"no prediction ({row['scheme']})"
                axes.text(low, y, text, color=mark.color, fontsize=7.5, va="center", style="italic")
                continue
            axes.plot([rmse - error, rmse + error], [y, y], color=mark.color, linewidth=1.6, solid_capstyle="butt")
            axes.plot([rmse], [y], **mark.points(6.0))
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
