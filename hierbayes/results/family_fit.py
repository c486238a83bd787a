"""A posterior of a model whose response is not Gaussian, with everything that may be asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from hierbayes.estimates import FamilyPosterior


@dataclass(frozen=True, eq=False, repr=False)
class FamilyFit(FamilyPosterior):
    """A posterior of a model of any family but the Gaussian with identity link.

    Made by `hierbayes.Model.fit`.

    Attributes
    ----------
    idata : xarray.DataTree
        Groups posterior, sample_stats and observed_data. Variable names and dimensions are Bambi's.
    design : Design
    priors : Priors
    convergence : Convergence
    """
