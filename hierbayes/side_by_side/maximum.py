"""Which maximum of the likelihood stands beside a posterior, and what it is called."""

from __future__ import annotations

import numpy as np

from hierbayes.errors import DataError
from hierbayes.estimates import Estimate, Posterior, Sampled
from hierbayes.laplace_estimate import LaplaceEstimate


def beside(fit: Sampled, maximum: Estimate | LaplaceEstimate | None) -> Estimate | LaplaceEstimate | None:
    """The maximum that stands beside a posterior: the one given, or the REML fit that a Gaussian one started from.

    Parameters
    ----------
    fit : Sampled
    maximum : Estimate, LaplaceEstimate or None

    Returns
    -------
    Estimate, LaplaceEstimate or None
        None of a family for which none is given.

    Raises
    ------
    DataError
        If it is of another formula or another response.
    """
    if maximum is None:
        return fit.reml if isinstance(fit, Posterior) else None
    one, other = maximum.design, fit.design
    if one.formula != other.formula or not np.array_equal(one.y, other.y):
        raise DataError(
            f"The maximum is of {one.formula!r} and the posterior of {other.formula!r}, or of other rows; give two "
            "fits of one model."
        )
    return maximum


def called(maximum: Estimate | LaplaceEstimate | None) -> str:
    """Name of the method by which a maximum was found, empty if there is none."""
    return "" if maximum is None else "ML" if isinstance(maximum, LaplaceEstimate) else maximum.method
