"""Wald intervals of variance parameters, from the curvature of the (restricted) likelihood.

The observed information is taken on the scale on which the likelihood is closest to quadratic:
logarithms of standard deviations, Fisher's z of correlations (Pinheiro & Bates 2000, section 2.4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hierbayes.covariance import Layout, cholesky, correlation, factor, partials
from hierbayes.kernel_marginal import deviance
from hierbayes.marginal import Marginal

STEP = 1e-4
"""Of central differences, on the unconstrained scale."""
FLAT = 1e-8
"""An eigenvalue of the information below this fraction of the largest one is none: differences have such errors."""

Function = Callable[[np.ndarray], np.ndarray]
Interval = tuple[float, float, float]
"""Standard error, lower and upper end."""


@dataclass(frozen=True)
class Wald:
    """Standard errors of the variance parameters, on the scales on which the intervals are symmetric.

    Parameters
    ----------
    values, errors : (k,) arrays
        Logarithms of standard deviations in the order of the effects, Fisher's z of correlations column by column,
        and, where the model has them, those of σ and ρ. NaN where they mean nothing.
    backs : tuple of callable
        From each scale to the natural one.
    """

    values: np.ndarray
    errors: np.ndarray
    backs: tuple[Function, ...]

    def intervals(self, z: float) -> list[Interval]:
        """Standard error and ends of the interval of every parameter on its natural scale; z: normal quantile."""
        made: list[Interval] = []
        for back, value, error in zip(self.backs, self.values, self.errors, strict=True):
            slope = (back(value + STEP) - back(value - STEP)) / (2.0 * STEP)
            with np.errstate(over="ignore"):  # an upper end may be infinite
                made.append((float(error * slope), float(back(value - z * error)), float(back(value + z * error))))
        return made


def standard_errors(
    marginal: Marginal, covariance: np.ndarray, sigma: float, rho: float, singular: bool, method: str
) -> Wald:
    """Compute standard errors from the curvature of the likelihood at its maximum.

    Parameters
    ----------
    marginal : Marginal
        With flat priors.
    covariance : (q, q) array
        Estimated covariance of the random effects.
    sigma, rho : float
        Residual standard deviation and correlation.
    singular : bool
        A singular estimate is on the boundary, where Wald intervals mean nothing: all entries are NaN.
    method : {"REML", "ML"}

    Returns
    -------
    Wald
    """
    layout, places = marginal.moments.layout, marginal.places
    pairs = layout.pairs
    backs: list[Function] = [*[np.exp] * layout.q, *[np.tanh] * len(pairs)]
    if places.sigma is not None:
        backs.append(np.exp)
    if places.rho is not None:
        backs.append(partial(_rho, marginal))
    none = np.full(len(backs), np.nan)
    nothing = Wald(none, none, tuple(backs))
    if singular:
        return nothing
    sd, correlations = partials(cholesky(covariance), layout)
    x = np.concatenate([np.log(sd), np.arctanh(correlations)])
    if places.sigma is not None:
        x = np.append(x, np.log(sigma))
    if places.rho is not None:
        x = np.append(x, np.arctanh(marginal.place(rho)))
    information = -differences(_gradient(marginal, method), x)
    information = 0.5 * (information + information.T)
    if not np.isfinite(information).all():
        return nothing
    curvatures = np.linalg.eigvalsh(information)
    if len(curvatures) and curvatures[0] <= FLAT * curvatures[-1]:
        return nothing

    def natural(at: np.ndarray) -> np.ndarray:
        """Logarithms and Fisher's z of what the table shows."""
        L = _factor(at, layout)
        sds, corr = correlation(L @ L.T)
        free = at[layout.q + layout.n_partial :]
        return np.concatenate([np.log(sds), np.arctanh([corr[i, j] for i, j in pairs]), free])

    jacobian = differences(natural, x)
    errors = np.sqrt(np.diag(jacobian @ np.linalg.inv(information) @ jacobian.T))
    return Wald(natural(x), errors, tuple(backs))


def _rho(marginal: Marginal, z: np.ndarray) -> np.ndarray:
    return marginal.rho(np.tanh(z))


def _factor(x: np.ndarray, layout: Layout) -> np.ndarray:
    sizes, correlated = layout.arrays
    return factor(np.exp(x[: layout.q]), np.tanh(x[layout.q : layout.q + layout.n_partial]), sizes, correlated)


def _gradient(marginal: Marginal, method: str) -> Function:
    """Gradient of the log likelihood on the unconstrained scale; ML profiles the fixed effects."""
    m, places = marginal.moments, marginal.places
    ml = method == "ML"
    flat = Marginal(marginal.design, None, m, kept=np.full(m.p, ml))
    rows, columns = np.nonzero(m.layout.mask)

    def gradient(x: np.ndarray) -> np.ndarray:
        theta, slope = np.tanh(x), 1.0 - np.tanh(x) ** 2
        positive = [*range(m.q), *([places.sigma] if places.sigma is not None else [])]
        theta[positive] = slope[positive] = np.exp(x[positive])
        beta = np.zeros(0)
        if ml:
            sigma = theta[places.sigma] if places.sigma is not None else marginal.design.sigma
            relative = m.E @ _factor(x, m.layout) / sigma
            entries = cholesky(relative @ relative.T)[rows, columns]
            entries = np.append(entries, x[places.rho] if places.rho is not None else [])
            t = deviance(entries, rows, columns, False, marginal.packed, *marginal.plan)[3]
            beta = m.ols - m.scale * np.linalg.solve(m.R, t[:-1])
        return flat.log_density(np.concatenate([theta, beta]))[1][: len(x)] * slope

    return gradient


def differences(function: Function, x: np.ndarray) -> np.ndarray:
    """Jacobian by central differences."""
    return np.array([(function(x + h) - function(x - h)) / (2.0 * STEP) for h in STEP * np.eye(len(x))]).T
