"""An expected log predictive density that says what was left out and what was integrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.utils import ELPDDataLOO
from numpy.typing import ArrayLike

from hierbayes import display
from hierbayes.cross_validation.source import Source

ROW, GROUP = "row", "group"


def standard_error(scores: ArrayLike, part: np.ndarray | None = None, ddof: int = 1) -> float:
    """Standard error of a sum of scores.

    Scores of rows that are left out together go up and down together, so that what counts is the variance of the
    sums of the parts: ``sqrt(m var(sums))`` with m parts.

    Parameters
    ----------
    scores : (items,) array
        Log predictive densities, or their differences between two models.
    part : (items,) array, optional
        Label of the part that each belongs to; by default each score is a part of its own.
    ddof : int, default 1
        As of ``numpy.var``; ArviZ takes 0 for differences and for k-fold cross-validation.

    Returns
    -------
    float
        0 where there is but one part.

    Examples
    --------
    >>> standard_error([1.0, 2.0, 3.0, 4.0], ddof=0), standard_error([1.0, 2.0, 3.0, 4.0], np.array([0, 0, 1, 1]), 0)
    (2.23606797749979, 2.8284271247461903)
    """
    sums = np.asarray(scores, dtype=float).ravel()
    if part is not None:
        sums = np.bincount(np.unique(part, return_inverse=True)[1], sums)
    return float(np.sqrt(len(sums) * sums.var(ddof=ddof))) if len(sums) > 1 else 0.0


class Shown:
    """A score of ArviZ's that a notebook shows as a panel: what was left out, the elpd, and whether to trust it."""

    def _repr_html_(self: Any) -> str:
        kind = self._display_kind or self.kind
        rows = [(f"elpd_{kind}", self.elpd, self.se), (f"p_{kind}", self.p, np.nan)]
        table = display.table(pd.DataFrame(rows, columns=["", "estimate", "se"]))
        return display.document(f"Expected log predictive density, {kind}", self._pareto(), self._header(), table)

    def _pareto(self: Any) -> display.Html:
        """How many scores importance sampling did not give."""
        if self.pareto_k is None or self.good_k is None:
            return display.said([])
        bad, of = int((~(self.pareto_k <= self.good_k)).sum()), self.pareto_k.size
        return display.said(
            [("warning", f"Pareto k is above {self.good_k:.2f} for {bad} of {of} scores.")] * (bad > 0)
        )


@dataclass(kw_only=True, repr=False)
class ELPD(Shown, ELPDDataLOO):
    """ArviZ's result of leave-one-out, for rows or groups of a mixed model.

    Everything that ArviZ does with its own works with it (`arviz.compare`, `arviz.plot_khat`).

    Parameters
    ----------
    target : {"row", "group"}
        What is left out at a time.
    group : str or None
        The grouping factor whose levels are left out.
    joint : bool
        Whether a group has one score for all its rows together, or a score for each of them.
    conditional : bool
        Whether the scores are conditional on draws of the random effects.
    part : (items,) int array or None
        Where the rows of a group are left out together but scored one by one, the group of each score: see
        `standard_error`. None where each score is a part of its own.
    source : Source or None
        The fit that was scored.
    integrated : (items,) array of str, or None
        Where some scores were made by integrating random effects and others were not: the grouping factor whose
        effects were, empty where none were.
    note : str
        The same in words.
    **more
        As of ArviZ's ``ELPDDataLOO``.
    """

    target: str
    group: str | None = None
    joint: bool = False
    conditional: bool = False
    part: np.ndarray | None = None
    source: Source | None = None
    integrated: xr.DataArray | None = None
    note: str

    @property
    def _display_kind(self) -> str:  # type: ignore[override]
        return "loo" if self.target == ROW else "logo"

    def _header(self) -> str:
        what = "levels" if self.joint else "rows"
        return f"Computed from {self.n_samples} posterior draws and {self.n_data_points} {what}.\n{self.note}"
