"""Pareto k of leave-one-out: which rows or groups importance sampling does not reach.

Points are drawn by ``arviz_plots.plot_khat``, thresholds and names here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import from_arviz
from .style import INK, NO_POOLING, POSTERIOR, REML, WIDTH, few_ticks, look, shortened, tidy_axes

if TYPE_CHECKING:
    import xarray as xr

    from hierbayes.cross_validation.elpd import ELPD

HEIGHT = 2.1
"""Inches of a panel."""
LABELLED = 6
"""Names of so many of the worst."""
MANY = 400
"""More points than this are small."""
MOST = 1500
"""Points of a panel; of more rows only the largest k of so many neighbours is drawn."""
LONG, SHORT = 20, 9
"""Letters of a name at a point, and below the axis."""


def pareto_k_figure(elpds: ELPD | Mapping[str, ELPD]) -> Figure:
    """Draw the Pareto k of every row or group that was left out.

    Parameters
    ----------
    elpds : ELPD or mapping of str to ELPD
        What ``fit.loo()``, ``fit.logo()`` or ``fit.reloo()`` returned; of several, a title each.

    Returns
    -------
    matplotlib.figure.Figure
        A panel each. The line is the largest k that importance sampling with so many draws can cope with; values
        above it are filled, the worst are named (rows by their labels in the data), and the title counts them. Rows
        of one group that are left out together have one k and are one point. A k of 0 is that of an exact refit; one
        that is infinite stands at the upper edge.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a score was made without importance sampling.
    """
    shown = dict(elpds) if isinstance(elpds, Mapping) else {"": elpds}
    if not shown:
        raise ValueError("Give what fit.loo() or fit.logo() returned.")
    for title, elpd in shown.items():
        if getattr(elpd, "pareto_k", None) is None:
            raise ValueError(f"{title or 'The score'} has no Pareto k; give what fit.loo() or fit.logo() returned.")
    with look():
        figure = Figure(figsize=(WIDTH, HEIGHT * len(shown) + 0.2), layout="constrained")
        for axes, (title, elpd) in zip(
            figure.subplots(len(shown), 1, squeeze=False).flat, shown.items(), strict=True
        ):
            _panel(axes, elpd, title)
    return figure


def _panel(axes: Axes, elpd: Any, title: str) -> None:
    k, names, what = _items(elpd)
    limit = float(getattr(elpd, "good_k", 0.7))
    total, count = len(k), int((~(k <= limit)).sum())
    step = -(-total // MOST)
    if step > 1:
        kept = [start + int(np.argmax(k[start : start + step])) for start in range(0, total, step)]
        k, names = k[kept], [names[at] for at in kept]
    finite = k[np.isfinite(k)]
    top = max(1.02, 1.12 * float(finite.max(initial=0.0)))
    bottom = float(finite.min(initial=0.0)) - 0.06
    inside = np.where(np.isfinite(k), k, top)
    size = 9.0 if len(k) > MANY else 22.0
    from_arviz.khat(axes, _array(inside), color=REML.color, marker="o", size=size, alpha=0.75)
    above = ~(k <= limit)
    if above.any():
        at = np.flatnonzero(above)
        axes.plot(at, inside[at], **{**POSTERIOR.points(5.2), "zorder": 3.0})
    axes.axhline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1.5)
    axes.annotate(
        f"{limit:.2g}", (1.0, limit), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
        va="center", fontsize=8.0, color=INK,
    )  # fmt: skip
    axes.axhline(0.0, color=NO_POOLING.color, linewidth=0.6, zorder=0.6)
    worst = [at for at in np.argsort(-inside, kind="stable")[:LABELLED] if above[at] or len(k) <= LABELLED]
    for at in worst:
        right = at > 0.85 * len(k)
        axes.annotate(
            shortened(names[at], LONG), (at, inside[at]), xytext=(-5 if right else 5, 2), textcoords="offset points",
            fontsize=7.5, ha="right" if right else "left", color=INK,
        )  # fmt: skip
    summary = (
        f"{count:,} of {total:,} {what} above {limit:.2g}" if count else f"all {total:,} {what} below {limit:.2g}"
    )
    axes.set_title(f"{title}: {summary}" if title else summary, loc="left")
    axes.set_ylim(bottom, top)
    axes.set_xlim(-0.02 * len(k) - 0.5, 1.02 * len(k) - 0.5)
    axes.set_xlabel(f"{what}, in their order" + (f", the largest of every {step}" if step > 1 else ""))
    axes.set_ylabel("Pareto k")
    axes.xaxis.set_major_locator(few_ticks(8))
    if step > 1:
        axes.xaxis.set_major_formatter(lambda at, _: f"{at * step:,.0f}")
    axes.yaxis.set_major_locator(few_ticks(5))
    if len(k) <= 12:
        axes.set_xticks(range(len(k)), [shortened(name, SHORT) for name in names])
    tidy_axes(axes, "y")


def _items(elpd: Any) -> tuple[np.ndarray, list[str], str]:
    """Pareto k of what is left out at a time, with names, and what it is."""
    k: xr.DataArray = elpd.pareto_k
    values = np.asarray(k, dtype=float).ravel()
    group = getattr(elpd, "group", None)
    *_, coords = [
        np.arange(len(values)),
        *(np.asarray(each) for each in k.coords.values() if each.size == len(values)),
    ]
    names, part = coords.ravel(), getattr(elpd, "part", None)
    labels = getattr(getattr(elpd, "source", None), "row_labels", None)
    if group is None and labels is not None and len(labels) == len(values):
        names = np.asarray(labels)
    if part is not None:
        first = np.sort(np.unique(part, return_index=True)[1])
        values, names = values[first], names[first]
    return values, [str(name) for name in names], "rows" if group is None else f"levels of {group}"


def _array(values: np.ndarray) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(values, dims="item", coords={"item": np.arange(len(values))}, name="pareto_k")
