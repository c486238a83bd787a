r"""Draws of θ from a distribution that reaches further than the posterior, for importance sampling away from it.

Where leaving something out moves the posterior far, its draws are too few out there. θ has few entries, everything
else being integrated, and the density of its posterior is known up to a constant, so that others can be had: a
multivariate t distribution with the posterior's mean and 1.6 times its standard deviations on the unconstrained
scale, whose tails are heavier than those of the posterior with or without a row or a group (Geweke 1989,
Econometrica 57, 1317). Its points come from a scrambled Sobol sequence, which integrates smooth functions of a few
variables far more accurately than as many independent draws (Owen 1997, Annals of Statistics 25, 1541).

The more entries θ has the fewer points are where they are needed; the Pareto k of the weights tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hierbayes.covariance import INSIDE
from hierbayes.estimates import Posterior
from hierbayes.sampling import PARTIAL, make_target
from hierbayes.threads import parts, share

POINTS = 13
"""Log to base 2 of how many."""
FREEDOM, WIDER = 7.0, 1.6
"""Degrees of freedom of the t distribution, and how much wider it is than the posterior."""
FEWEST = 5
"""Draws of the posterior for each entry of θ, at least."""


@dataclass(frozen=True)
class Proposal:
    """Draws of θ that are not from the posterior.

    Parameters
    ----------
    thetas : (points, dim) array
    log_ratio : (points,) array
        Log density of the posterior over that of the draws, up to a constant.
    """

    thetas: np.ndarray
    log_ratio: np.ndarray


def propose(fit: Posterior, threads: int = 1) -> Proposal | None:
    """Draws from a t distribution around the posterior.

    Parameters
    ----------
    fit : Posterior
    threads : int, default 1

    Returns
    -------
    Proposal or None
        None if a prior is one whose density only PyMC knows, or if there are too few draws to know how wide the
        posterior is.
    """
    target = make_target(fit.marginal, fit.priors)
    if target.table is None:
        return None
    # a correlation that is 1 in floating point has no place on the unconstrained scale
    x = target.unconstrain(fit.thetas[(np.abs(fit.thetas[:, target.kinds == PARTIAL]) < INSIDE).all(axis=1)])
    d = x.shape[1]
    if len(x) < FEWEST * d:
        return None
    half = np.linalg.cholesky(np.atleast_2d(np.cov(x.T)))
    u = stats.qmc.Sobol(d + 1, rng=np.random.default_rng(0)).random_base2(POINTS)
    u = u[(u > 0.0).all(axis=1)]
    z = stats.norm.ppf(u[:, :d]) * np.sqrt(FREEDOM / stats.chi2.ppf(u[:, d], FREEDOM))[:, None]
    points = x.mean(axis=0) + WIDER * z @ half.T
    values = np.empty(len(points))

    def run(_: int, part: slice) -> None:
        values[part] = [target.log_posterior(point)[0] for point in points[part]]

    with fit.marginal.one_thread():
        share(run, parts(len(points), max(1, -(-len(points) // (4 * threads)))), threads)
    log_ratio = values + 0.5 * (FREEDOM + d) * np.log1p((z**2).sum(axis=1) / FREEDOM)
    possible = np.isfinite(log_ratio)
    return Proposal(target.constrain(points[possible]), log_ratio[possible])
