r"""Expectations over the population of groups.

The random effects enter a row's linear predictor through one number, z'b ~ N(0, v), so that the average of the
expected response over groups is an integral in one dimension whatever their number,

    E μ(η + z'b) = ∫ μ(η + √v t) φ(t) dt,

by the trapezoidal rule, which converges exponentially for such integrands (Trefethen & Weideman 2014, SIAM Review 56,
385): its relative error is about exp(-2π a/h) with step h, where a is the distance of the singularities of
μ(η + √v t) from the real line, π/√v for a logistic μ. h = 0.7/√v makes that 1e-12 (for a complementary log-log link
1e-7), where Gauss-Hermite quadrature needs more nodes as soon as √v is large. With several linear predictors
(categorical and multinomial responses) the integral has as many dimensions, and quasi-random points take the place
of the rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

STEP = 0.7
"""Of the trapezoidal rule, for a standard deviation of 1 or less."""
FAR = 8.5
"""Where a standard Normal density ends; a mean that grows exponentially moves the integrand as far as √v."""
MOST = 1000
"""Points of the rule."""
POINTS = 512
"""Quasi-random points where there are several linear predictors."""


def population_mean(mean: Callable[[np.ndarray], np.ndarray], eta: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Average a function of the linear predictor over Normal deviations from it.

    Parameters
    ----------
    mean : callable
        From linear predictors, (draws, rows) or (draws, rows, outcomes), to means.
    eta : (draws, rows) or (draws, rows, outcomes) array
    v : array of the same shape
        Variances.

    Returns
    -------
    array
        As of `mean`.

    Examples
    --------
    >>> eta, v = np.array([[0.3, 0.3]]), np.array([[0.0, 2.0]])
    >>> population_mean(np.exp, eta, v).round(6), np.exp(eta + v / 2).round(6)
    (array([[1.349859, 3.669297]]), array([[1.349859, 3.669297]]))
    """
    sd = np.sqrt(v)
    nodes, weights = trapezoid(sd.max(initial=0.0)) if eta.ndim == 2 else _points(eta.shape[-1])
    total: np.ndarray = sum(weight * mean(eta + sd * node) for node, weight in zip(nodes, weights, strict=True))
    return total


def trapezoid(sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights for a standard Normal variable, enough for deviations of that size."""
    points = min(int(2.0 * (FAR + sd) * max(1.0, sd) / STEP) + 1, MOST)
    nodes = np.linspace(-FAR - sd, FAR + sd, points)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _points(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    uniform = stats.qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(0)).random(POINTS)
    return stats.norm.ppf(uniform), np.full(POINTS, 1.0 / POINTS)
