"""The expected log predictive density of future rows, with what was known and what was predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.utils import ELPDDataLFO

from hierbayes.cross_validation.elpd import Shown
from hierbayes.cross_validation.future import FUTURE
from hierbayes.cross_validation.source import Source


@dataclass(kw_only=True, repr=False)
class FutureELPD(Shown, ELPDDataLFO):
    """ArviZ's result of leave-future-out cross-validation, for the rows of a mixed model.

    Parameters
    ----------
    cuts : (cuts,) array
        The times up to which everything was known, one forecast each.
    joint : bool
        Whether a cut has one score for all its future rows together, or a score for each of them.
    times : (n,) int array or None
        How many distinct times every row of the fit comes after the first cut; 0 for those known from the start.
    part : (items,) int array or None
        Which scores go up and down together: see `hierbayes.cross_validation.elpd.standard_error`. None where each
        score is a part of its own.
    source : Source or None
        The fit that was scored.
    note : str
        What was predicted from what, in words.
    **more
        As of ArviZ's ``ELPDDataLFO``; ``refits`` are the cuts at which the posterior was sampled anew, and
        ``n_data_points`` counts scores.
    """

    cuts: np.ndarray
    joint: bool = False
    times: np.ndarray | None = None
    part: np.ndarray | None = None
    source: Source | None = None
    note: str

    @property
    def target(self) -> str:
        """What is predicted: ``"future"``."""
        return FUTURE

    def _header(self) -> str:
        cuts, refits = len(self.cuts), self.n_refits
        what = "" if self.joint else f"{self.n_data_points} future rows of "
        return (
            f"Computed from {self.n_samples} posterior draws and {what}{cuts} cut{'s' * (cuts != 1)} in time, "
            f"{refits} refit{'s' * (refits != 1)}.\n{self.note}"
        )
