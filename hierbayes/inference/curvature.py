r"""What the data say about the variance parameters, to second order.

The parameters are x, the free entries of the relative factor Λ and Fisher's z of a residual correlation; σ and the
fixed effects are profiled out. With D(x) = -2 log (restricted) likelihood and ν its degrees of freedom (n - p by
REML, n by ML), the information of all variance parameters together is block diagonal in x and in the ratio of σ²
to its profile σ̂²(x), since D has curvature ν in the logarithm of that ratio wherever x is:

    Var(x̂) = 2 D''⁻¹,      Var(log σ²/σ̂²(x)) = 2/ν,      no covariance.

So whatever depends on the variance parameters, such as the covariance matrix of the fixed effects, has a
variance by the delta method from its profile alone. Directions in which D has no positive curvature carry no
information and are left out, as lmerTest does (Kuznetsova, Brockhoff & Christensen 2017, Journal of Statistical
Software 82, 13).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hierbayes.estimates import Estimate
from hierbayes.kernel_marginal import deviance

STEP = 1e-4
"""Of central differences, relative to x where x is larger than 1."""
FINE = 1e-3
"""Largest step relative to x, or to its standard error where that is larger: the scale on which curvatures change.
The error of a central difference is of the order of its square."""
FLAT = 1e-8
"""A curvature below this fraction of the largest one is none."""


class Curvature:
    """Profile of -2 log likelihood around an estimate.

    Parameters
    ----------
    fit : Estimate

    Attributes
    ----------
    x : (dim,) array
        The estimate.
    dof : int
        Degrees of freedom of σ²: n - p by REML, n by ML.
    """

    def __init__(self, fit: Estimate) -> None:
        self._fit = fit
        m = fit.moments
        self._rows, self._columns = np.nonzero(m.layout.mask)
        self._restricted = fit.method == "REML"
        self.dof = m.n - m.p if self._restricted else m.n
        x = fit.optimum.relative[self._rows, self._columns]
        if fit.rho is not None:
            x = np.append(x, np.arctanh(fit.marginal.place(fit.rho)))
        self.x = x

    def relative(self, x: np.ndarray) -> np.ndarray:
        """Λ, (q, q), in the coordinates of the moments."""
        q = self._fit.moments.q
        made = np.zeros((q, q))
        made[self._rows, self._columns] = x[: len(self._rows)]
        return made

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient of D, covariance matrix of γ = R (β - ols)/scale, and (-γ̂, 1), all else profiled out."""
        marginal = self._fit.marginal
        _, gradient, sigma, t, chol = deviance(
            x, self._rows, self._columns, self._restricted, marginal.packed, *marginal.plan
        )
        half = np.linalg.inv(chol.T) * sigma
        return gradient, half @ half.T, t

    @cached_property
    def _differences(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Step of every parameter, and the slopes of the gradient and of the covariance matrix of γ."""
        with self._fit.marginal.one_thread():
            steps = STEP * np.maximum(1.0, np.abs(self.x))
            slopes = self._slopes(steps)
            error = np.sqrt(2.0 / np.maximum(np.diag(slopes[0]), 2.0 * FINE**2))
            finest = FINE * np.maximum(np.abs(self.x), error)
            if (steps > finest).any():
                steps = np.minimum(steps, finest)
                slopes = self._slopes(steps)
        return steps, *slopes

    def _slopes(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = self._fit.moments.p
        hessian, vcov = np.zeros((len(steps), len(steps))), np.zeros((len(steps), p, p))
        for k, step in enumerate(steps):
            up, down = (self.at(self.x + sign * step * np.eye(len(steps))[k]) for sign in (1.0, -1.0))
            hessian[k], vcov[k] = ((a - b) / (2.0 * step) for a, b in zip(up[:2], down[:2], strict=True))
        return 0.5 * (hessian + hessian.T), vcov

    @property
    def steps(self) -> np.ndarray:
        """(dim,) array: a step of every parameter for central differences."""
        return self._differences[0]

    @property
    def vcov_slopes(self) -> np.ndarray:
        """(dim, p, p) array: derivative of the covariance matrix of γ by every parameter."""
        return self._differences[2]

    @cached_property
    def directions(self) -> np.ndarray:
        """(dim, k) array whose columns d make up the covariance matrix of the estimate, Var(x̂) = Σ d dᵀ."""
        hessian = self._differences[1]
        if not np.isfinite(hessian).all():
            return np.full(hessian.shape, np.nan)
        values, vectors = np.linalg.eigh(hessian)
        curved = values > FLAT * max(1.0, np.abs(values).max(initial=0.0))
        return vectors[:, curved] * np.sqrt(2.0 / values[curved])
