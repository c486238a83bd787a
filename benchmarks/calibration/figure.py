"""Ranks of a study as a figure: distribution functions less that of the uniform, in simultaneous bands."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.calibration.ranks import BAND, band, below, thresholds, uniformity
from hierbayes.plots.style import FAINT, INK, PAPER, POSTERIOR, WIDTH, look, tidy_axes
from hierbayes.plots.svg import to_svg

COLUMNS = 3


def draw(ranks: pd.DataFrame, title: str, key: str) -> str:
    """Draw one panel for each quantity.

    Parameters
    ----------
    ranks : pandas.DataFrame
        One row a repetition, one column a quantity.
    title, key : str

    Returns
    -------
    str
        An SVG document.
    """
    p_values = uniformity(ranks)
    low, high = band(len(ranks))
    at = thresholds()
    rows = -(-ranks.shape[1] // COLUMNS)
    with look():
        figure = Figure(figsize=(WIDTH, 0.6 + 1.45 * rows), layout="constrained")
        figure.suptitle(
            f"{title}: ranks of {len(ranks)} prior draws; bands hold a whole curve with probability {BAND:.0%}",
            fontsize=9.0,
        )
        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(panels, ranks.columns, strict=False):
            axes.fill_between(at, low - at, high - at, color=FAINT, linewidth=0)
            axes.axhline(0.0, color=INK, linewidth=0.6)
            curve = below(ranks[name].to_numpy()) / len(ranks)
            axes.step(at, curve - at, where="mid", color=POSTERIOR.color, linewidth=1.3)
            axes.set_title(f"{name}  (p = {p_values.loc[name, 'ecdf']:.2g})", fontweight="normal", fontsize=8.0)
            axes.set_xlim(0.0, 1.0)
            tidy_axes(axes, "y")
        for axes in panels[ranks.shape[1] :]:
            axes.set_visible(False)
        for number, axes in enumerate(panels[: ranks.shape[1]]):
            axes.xaxis.set_tick_params(labelbottom=number + COLUMNS >= ranks.shape[1])
        figure.supxlabel("rank / number of draws", fontsize=8.5)
        figure.supylabel("distribution function less uniform", fontsize=8.5)
        drawing = to_svg(figure, key)
    paper = f'style="fill: {PAPER}"'  # readers may have a dark page
    return drawing.replace('style="fill: none"', paper, 1) + "\n"
