r"""The likelihood-ratio statistic of two nested fits, and its null distribution where variances are zero.

The statistic is ``X² = 2 (log L_larger - log L_smaller)``, with `d` more parameters in the larger model. With all
parameters of the smaller model inside their space, X² is about χ²_d. A variance that the larger model adds is zero in
the smaller one, on the boundary, and X² is then smaller (Self & Liang 1987, Journal of the American Statistical
Association 82, 605; Stram & Lee 1994, Biometrics 50, 1171):

- one variance, with its covariances with the effects that were there before: ``½ χ²_{d-1} + ½ χ²_d``;
- several variances: a mixture whose weights depend on the data. χ²_d bounds it from above, so its p-value is too
  large; ``simulate=`` draws the distribution instead, by fitting both models to responses drawn from the smaller.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hierbayes.errors import ConvergenceWarning, HierbayesError
from hierbayes.estimates import Estimate
from hierbayes.inference.nesting import named
from hierbayes.inference.simulation import simulate as draw
from hierbayes.progress import bar
from hierbayes.refits import Refitter

WORSE = 1e-5
"""Rounding of the difference of two -2 log likelihoods: a larger model that is worse by more has not found its
maximum, and one that is better by no more is not better."""
AT_A_TIME = 5_000_000
"""Numbers that the simulated responses held at a time may have."""


@dataclass(frozen=True)
class LikelihoodRatio:
    """Test of a smaller against a larger model.

    Parameters
    ----------
    chisq : float
        X².
    df : int
        Parameters that the larger model adds.
    p_value : float
        With the boundary taken into account, or simulated.
    p_naive : float
        From χ² with df degrees of freedom.
    note : str
        How `p_value` was computed.
    """

    chisq: float
    df: int
    p_value: float
    p_naive: float
    note: str


def likelihood_ratio(
    smaller: Estimate, larger: Estimate, simulate: int = 0, seed: int | None = None, progress: bool | None = None
) -> LikelihoodRatio:
    """Test nested fits of the same rows by the same method.

    Parameters
    ----------
    smaller, larger : Estimate
    simulate : int, default 0
        Responses to draw from the smaller model for the p-value.
    seed : int, optional
    progress : bool, optional

    Returns
    -------
    LikelihoodRatio

    Raises
    ------
    HierbayesError
        If the larger model adds no parameter.
    ValueError
        If `simulate` is not a whole number.

    Warns
    -----
    ConvergenceWarning
        If the larger model fits worse, if a fit has not converged, or if refits failed.
    """
    if not (isinstance(simulate, (int, np.integer)) and simulate >= 0):
        raise ValueError(f"simulate must be a whole number of responses, not {simulate!r}")
    chisq, df = _statistic(smaller, larger)
    p_value, note = boundary_p_value(chisq, df, larger.moments.q - smaller.moments.q)
    if simulate:
        p_value, note = _simulated(smaller, larger, chisq, simulate, seed, progress)
    elif smaller.singular:
        note += "; the smaller fit is singular, so the distribution is not known; use simulate="
    return LikelihoodRatio(chisq, df, p_value, float(stats.chi2.sf(chisq, df)), note)


def difference(smaller: Estimate, larger: Estimate) -> tuple[float, int]:
    """X² and the number of parameters that it tests; X² is negative only where the larger model fits worse.

    Parameters
    ----------
    smaller, larger : Estimate

    Returns
    -------
    chisq : float
        0 where it is no more than rounding.
    df : int
    """
    chisq = smaller.criterion - larger.criterion
    return (0.0 if -WORSE <= chisq <= WORSE else chisq), larger.n_par - smaller.n_par


def _statistic(smaller: Estimate, larger: Estimate) -> tuple[float, int]:
    """X² and the number of parameters that it tests, with a warning where it is not to be trusted."""
    chisq, df = difference(smaller, larger)
    pair = f"{named(smaller.design)!r} with {named(larger.design)!r}"
    if df <= 0:
        raise HierbayesError(f"There is nothing to test in comparing {pair}: the second has no further parameter.")
    problem = ""
    if chisq < 0.0:
        problem = f"the larger model fits worse, by {-chisq:.2g} in -2 log likelihood"
    elif not (smaller.converged and larger.converged):
        problem = "a fit has not converged"
    if problem:
        warnings.warn(f"The comparison of {pair} is not to be trusted: {problem}.", ConvergenceWarning, stacklevel=4)
    return max(chisq, 0.0), df


def boundary_p_value(chisq: float, df: int, variances: int) -> tuple[float, str]:
    """p-value of a likelihood-ratio statistic where variances are on the boundary, and how it was computed.

    Parameters
    ----------
    chisq : float
    df : int
        Parameters that the larger model adds.
    variances : int
        How many of them are variances.

    Examples
    --------
    >>> p_value, note = boundary_p_value(2.705543, 1, 1)
    >>> round(p_value, 6), note
    (0.05, 'one variance on the boundary: ½ χ²(0) + ½ χ²(1)')
    """
    upper = float(stats.chi2.sf(chisq, df))
    if variances <= 0:
        return upper, f"χ²({df})"
    if variances == 1:
        lower = float(chisq <= 0.0) if df == 1 else float(stats.chi2.sf(chisq, df - 1))
        return 0.5 * lower + 0.5 * upper, f"one variance on the boundary: ½ χ²({df - 1}) + ½ χ²({df})"
    return upper, f"{variances} variances on the boundary: p_value is an upper bound from χ²({df}); use simulate="


def _simulated(
    smaller: Estimate, larger: Estimate, chisq: float, n: int, seed: int | None, progress: bool | None
) -> tuple[float, str]:
    """p-value from the statistic of responses that were drawn from the smaller model."""
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    refitters = [Refitter(fit.design, fit.moments) for fit in (smaller, larger)]
    size = max(1, AT_A_TIME // smaller.nobs)
    statistics: list[np.ndarray] = []
    with bar("refits", 2 * n, progress) as advance:
        for first in range(0, n, size):
            responses = draw(smaller, min(size, n - first), seed, first)
            one, two = (each.all(responses, smaller.method, os.cpu_count() or 1, advance) for each in refitters)
            good = (one.converged & two.converged).to_numpy()
            statistics.append(np.where(good, (one.criterion - two.criterion).to_numpy(), np.nan))
    found = np.concatenate(statistics)
    failed = int(np.isnan(found).sum())
    if failed:
        warnings.warn(
            f"{failed} of {n} simulated comparisons did not converge and were left out.",
            ConvergenceWarning,
            stacklevel=4,
        )
    found = found[~np.isnan(found)]
    p_value = (1.0 + np.sum(found >= chisq - WORSE)) / (1.0 + len(found))
    note = f"simulated from the smaller model, {len(found)} responses, seed {seed}"
    return float(p_value), note + (f", {failed} failed" if failed else "")
