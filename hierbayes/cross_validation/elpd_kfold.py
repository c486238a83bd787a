"""The expected log predictive density of k-fold cross-validation, with its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.utils import ELPDDataLOOKFold

from hierbayes.cross_validation.elpd import Shown
from hierbayes.cross_validation.source import Source


@dataclass(kw_only=True, repr=False)
class KFoldELPD(Shown, ELPDDataLOOKFold):
    """ArviZ's result of k-fold cross-validation, for rows or groups of a mixed model.

    Parameters
    ----------
    fold : (n,) int array
        Part in which each row was left out, from 0.
    group : str or None
        The grouping factor whose levels were left out as a whole.
    part : (n,) int array or None
        The level of each row, if there is such a factor: see `hierbayes.cross_validation.elpd.standard_error`.
    source : Source or None
        The fit that was cross-validated.
    **more
        As of ArviZ's ``ELPDDataLOOKFold``.
    """

    fold: np.ndarray
    group: str | None = None
    part: np.ndarray | None = None
    source: Source | None = None

    def _header(self) -> str:
        what = "rows" if self.group is None else f"whole levels of {self.group!r}"
        return f"{super()._header()}\nParts of {what}; random and fixed effects integrated."
