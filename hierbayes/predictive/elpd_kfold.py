"""The expected log predictive density of k-fold cross-validation, with its parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.utils import ELPDDataLOOKFold


@dataclass(kw_only=True, repr=False)
class KFoldELPD(ELPDDataLOOKFold):
    """ArviZ's result of k-fold cross-validation, for rows or groups of a mixed model.

    Parameters
    ----------
    fold : (n,) int array
        Part in which each row was left out, from 0.
    group : str or None
        The grouping factor whose levels were left out as a whole.
    **more
        As of ArviZ's ``ELPDDataLOOKFold``.
    """

    fold: np.ndarray
    group: str | None = None

    def _header(self) -> str:
        what = "rows" if self.group is None else f"whole levels of {self.group!r}"
        return f"{super()._header()}\nParts of {what}; random and fixed effects integrated."
