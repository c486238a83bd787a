"""Wald intervals of variance parameters, from the curvature of the (restricted) likelihood.

The observed information is taken on the scale on which the likelihood is closest to quadratic:
logarithms of standard deviations, Fisher's z of correlations (Pinheiro & Bates 2000, section 2.4.3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hierbayes.covariance import Layout, cholesky, correlation, factor, partials
from hierbayes.design import Design
from hierbayes.kernel import profile
from hierbayes.marginal import Marginal
from hierbayes.moments import Moments

STEP = 1e-4
"""Of central differences, on the unconstrained scale."""

Function = Callable[[np.ndarray], np.ndarray]
Interval = tuple[float, float, float]
"""Standard error, lower and upper end."""


def variance_intervals(
    design: Design,
    moments: Moments,
    covariance: np.ndarray,
    sigma: float,
    singular: bool,
    method: str,
    z: float,
) -> list[Interval]:
    """Compute standard errors and intervals of the standard deviations, the free correlations and σ.

    Parameters
    ----------
    design : Design
    moments : Moments
    covariance : (q, q) array
        Estimated covariance of the random effects.
    sigma : float
    singular : bool
        A singular estimate is on the boundary, where Wald intervals mean nothing: all entries are NaN.
    method : {"REML", "ML"}
    z : float
        Normal quantile of the level.

    Returns
    -------
    list of (std_error, low, high)
        Standard deviations in the order of the effects, correlations column by column, σ.
    """
    layout = moments.layout
    pairs = [(i, j) for j in range(layout.q) for i in range(j + 1, layout.q) if layout.mask[i, j]]
    nothing = (np.nan, np.nan, np.nan)
    if singular:
        return [nothing] * (layout.q + len(pairs) + 1)
    sd, partial = partials(cholesky(covariance), layout)
    x = np.concatenate([np.log(sd), np.arctanh(partial), [np.log(sigma)]])
    gradient = _gradient(design, moments, method)
    information = -_differences(gradient, x)
    information = 0.5 * (information + information.T)
    if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 0:
        return [nothing] * (layout.q + len(pairs) + 1)

    def natural(at: np.ndarray) -> np.ndarray:
        """Logarithms and Fisher's z of what the table shows."""
        L = _factor(at, layout)
        sds, corr = correlation(L @ L.T)
        return np.concatenate([np.log(sds), np.arctanh([corr[i, j] for i, j in pairs]), at[-1:]])

    jacobian = _differences(natural, x)
    errors = np.sqrt(np.diag(jacobian @ np.linalg.inv(information) @ jacobian.T))
    shown = natural(x)
    made: list[Interval] = []
    for k, (value, error) in enumerate(zip(shown, errors, strict=True)):
        back = np.tanh if layout.q <= k < layout.q + len(pairs) else np.exp
        slope = 1.0 - np.tanh(value) ** 2 if back is np.tanh else np.exp(value)
        made.append((float(error * slope), float(back(value - z * error)), float(back(value + z * error))))
    return made


def _factor(x: np.ndarray, layout: Layout) -> np.ndarray:
    sizes, correlated = layout.arrays
    return factor(np.exp(x[: layout.q]), np.tanh(x[layout.q : layout.q + layout.n_partial]), sizes, correlated)


def _gradient(design: Design, moments: Moments, method: str) -> Function:
    """Gradient of the log likelihood on the unconstrained scale; ML profiles the fixed effects."""
    m, layout = moments, moments.layout
    ml = method == "ML"
    marginal = Marginal(design, None, moments, kept=np.full(m.p, ml))
    k = m.q + layout.n_partial

    def gradient(x: np.ndarray) -> np.ndarray:
        theta = np.concatenate([np.exp(x[: m.q]), np.tanh(x[m.q : k]), np.exp(x[k:])])
        beta = np.zeros(0)
        if ml:
            relative = m.E @ _factor(x, layout) / theta[k]
            t = profile(m.A, m.count, m.M, m.G, float(m.n), False, relative)[3]
            beta = m.ols - m.scale * np.linalg.solve(m.R, t[:-1])
        slope = marginal.log_density(np.concatenate([theta, beta]))[1][: k + 1]
        return slope * np.concatenate([theta[: m.q], 1.0 - theta[m.q : k] ** 2, theta[k:]])

    return gradient


def _differences(function: Function, x: np.ndarray) -> np.ndarray:
    """Jacobian by central differences."""
    return np.array([(function(x + h) - function(x - h)) / (2.0 * STEP) for h in STEP * np.eye(len(x))]).T
