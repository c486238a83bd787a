"""Which model predicts better: differences of elpd with their standard errors, for new rows and for new groups.

Drawn with matplotlib alone: ``arviz_plots.plot_compare`` draws one table on a figure of its own, without the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import FAINT, INK, NO_POOLING, PAPER, REML, WIDTH, few_ticks, look, tidy_axes

TITLES = {
    "row": "New rows of known groups (LOO)",
    "group": "New groups (LOGO)",
    "future": "Later rows (LFO)",
}
"""What each target is, in words."""
HEIGHT = 0.42
"""Inches of a model."""
LONG = 34
"""Letters of a name on a line."""
CLEAR = 2.0
"""Standard errors from which a difference counts as clear; within one it counts as nothing."""
SMALL = 4.0
"""A difference of elpd below this is small whatever its standard error, which is then too optimistic (Sivula,
Magnusson, Matamoros & Vehtari 2025)."""
MANY = 100
"""Rows or groups from which on the standard error is one: that of fewer is too small (the same paper)."""


def elpd_figure(tables: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Figure:
    """Draw how far each model is behind the best, for each thing to predict.

    Parameters
    ----------
    tables : pandas.DataFrame or mapping of str to pandas.DataFrame
        Of `hierbayes.compare`; of several, by target (``"row"``, ``"group"``, ``"future"``) or by a title.

    Returns
    -------
    matplotlib.figure.Figure
        A panel a table: the difference of elpd to the best model, or to the one that was asked for as ``reference``,
        ± one standard error (thick) and two (thin), and in words whether the data tell the two apart. Models keep the
        order of the first table.

    Raises
    ------
    ValueError
        If there is no table, or one is not of `hierbayes.compare`.
    """
    shown = dict(tables) if isinstance(tables, Mapping) else {"": tables}
    if not shown or not all(
        isinstance(table, pd.DataFrame) and len(table) and {"elpd_diff", "dse"} <= set(table)
        for table in shown.values()
    ):
        raise ValueError("Give what hb.compare({...}) returned, or several such tables by what is predicted.")
    order = [str(name) for name in next(iter(shown.values())).index]
    with look():
        figure = Figure(figsize=(WIDTH, len(shown) * (HEIGHT * len(order) + 0.62) + 0.35), layout="constrained")
        grid = figure.subplots(len(shown), 1, squeeze=False)
        for axes, (target, table) in zip(grid.flat, shown.items(), strict=True):
            exact = table.assign(**{column: _values(table, column) for column in ("elpd_diff", "dse")})
            _panel(axes, exact.set_axis([str(name) for name in table.index]), order)
            if title := TITLES.get(target, target):
                axes.set_title(title, loc="left")
        marked = dict.fromkeys("the best model" if _best(table) else "the reference" for table in shown.values())
        figure.supxlabel(f"elpd less that of {' or '.join(marked)}, ± 1 and 2 standard errors", fontsize=9)
    return figure


def verdict(difference: float, error: float, items: int | None = None) -> str:
    """What a difference to the best model or a reference means; with fewer than `MANY` items it is never clear.

    Examples
    --------
    >>> [verdict(-1.0, 2.0), verdict(-3.0, 2.0), verdict(-7.0, 4.0), verdict(-9.0, 2.0)]
    ['not told apart', 'a small difference', 'probably worse', 'worse']
    >>> verdict(-9.0, 2.0, items=18), verdict(9.0, 2.0)
    ('probably worse', 'better')
    """
    away = abs(difference)
    if away <= error:
        return "not told apart"
    if away < SMALL:
        return "a small difference"
    few = items is not None and items < MANY
    said = "better" if difference > 0.0 else "worse"
    return f"probably {said}" if few or away <= CLEAR * error else said


def _best(table: pd.DataFrame) -> bool:
    """Whether differences are to the best model, not to one that was asked for."""
    return table.attrs.get("reference") is None and "p_better" not in table


def _values(table: pd.DataFrame, column: str) -> list[float]:
    """A column without rounding where the table knows it."""
    exact = table.attrs.get("exact", {}).get(column, {})
    return [float(exact.get(name, value)) for name, value in table[column].items()]


def _panel(axes: Axes, table: pd.DataFrame, order: list[str]) -> None:
    names = [name for name in order if name in table.index] + [name for name in table.index if name not in order]
    axes.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1.0)
    found = table.loc[names]
    differences, errors = (found[column].to_numpy(dtype=float) for column in ("elpd_diff", "dse"))
    errors = np.nan_to_num(errors)
    marked, called = str(table.index[0]), "best"
    if not _best(table):
        marked, called = str(table.attrs.get("reference") or table["elpd_diff"].abs().idxmin()), "reference"
    for place, (name, difference, error) in enumerate(zip(names, differences, errors, strict=True)):
        y = len(names) - 1 - place
        if name == marked:
            axes.plot([0.0], [y], **REML.points(6.5), zorder=3.0)
            text, at = called, 0.0
        else:
            axes.plot([difference - 2 * error, difference + 2 * error], [y, y], color=REML.color, linewidth=0.9)
            axes.plot([difference - error, difference + error], [y, y], color=REML.color, linewidth=2.4)
            axes.plot([difference], [y], **NO_POOLING.points(6.0) | {"markeredgecolor": REML.color}, zorder=3.0)
            said = verdict(difference, error, table.attrs.get("items"))
            text, at = f"{_short(difference)} ± {_short(error)}, {said}", difference
        axes.annotate(
            text, (at, y), xytext=(0, 9), textcoords="offset points", fontsize=7.5, ha="center", va="center",
            color=INK, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}, zorder=2.5,
        )  # fmt: skip
    low = float((differences - 2.2 * errors).min())
    high = float(max((differences + 2.2 * errors).max(), 0.0))
    room = 0.14 * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-0.5, len(names) - 0.35)
    axes.set_yticks(range(len(names))[::-1], [_wrapped(name) for name in names])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(few_ticks(6))
    tidy_axes(axes)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="y", color=FAINT, linewidth=0.4)


def _short(value: float) -> str:
    """Three digits at most, with a proper minus."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-", "−") if abs(value) < 100 else f"{value:,.0f}".replace("-", "−")
    )


def _wrapped(name: str) -> str:
    """A long name on two lines, cut where it is longer still."""
    if len(name) <= LONG:
        return name
    cut = name.rfind(" ", 0, LONG) + 1 or LONG
    rest = name[cut:]
    return f"{name[:cut].rstrip()}\n{rest if len(rest) <= LONG else rest[: LONG - 1] + '…'}"
