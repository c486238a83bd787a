r"""Maximum likelihood and restricted maximum likelihood, by maximising the marginal likelihood.

With σ and the fixed effects profiled, -2 log likelihood is a function of the free entries x of the
relative factor Λ alone (`hierbayes.kernel.profile`). It is minimised by L-BFGS-B with analytic
gradients from the best of a few scales, then polished by Newton steps whose Hessian is a
difference of gradients, so that the answer is good to about eight digits in Λ. The signs of the
columns of Λ are free, so no bounds are needed: a variance of zero is an interior stationary point.

A singular answer, on the boundary Σ ≥ 0, is checked from further starts before it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from hierbayes.kernel import profile
from hierbayes.moments import Moments

SCALES = (0.03, 0.3, 1.0, 3.0, 30.0, 1000.0)
"""Relative standard deviations tried as starting points."""
SINGULAR = 1e-4
"""A relative standard deviation below this is on the boundary (lme4's tolerance)."""
ROUNDING = 1e-8
"""Relative rise of the value that is rounding: sums of squares cancel when variance ratios are large, and the
gradient is then the better guide."""
GRADIENT = 1e-5
"""Converged means: no component of the gradient of -2 log likelihood is larger than this. Where an entry of Λ
is larger than 1 the gradient is per relative change of it, here and in `Optimum`."""


@dataclass(frozen=True)
class Optimum:
    """Where the likelihood is largest, and how that was found.

    Parameters
    ----------
    relative : (q, q) array
        Λ, in the coordinates of the moments.
    deviance : float
        -2 log (restricted) likelihood, in the user's units.
    sigma : float
        Residual standard deviation over `Moments.scale`.
    t : (p + 1,) array
        (-γ̂, 1).
    chol : (p, p) array
        Cholesky factor of Xᵀ V₀⁻¹ X.
    gradient : float
        Largest component of the gradient at the answer.
    curvature : float
        Smallest eigenvalue of the Hessian of -2 log likelihood over the free parameters.
    singular : bool
    converged : bool
    evaluations : int
        Evaluations of value and gradient.
    message : str
        In words.
    """

    relative: np.ndarray
    deviance: float
    sigma: float
    t: np.ndarray
    chol: np.ndarray
    gradient: float
    curvature: float
    singular: bool
    converged: bool
    evaluations: int
    message: str


class _Deviance:
    """-2 log likelihood of the free entries of Λ, counting its evaluations."""

    def __init__(self, moments: Moments, restricted: bool) -> None:
        self.moments = moments
        self.restricted = restricted
        self.where = np.nonzero(moments.layout.mask)
        self.evaluations = 0

    def relative(self, x: np.ndarray) -> np.ndarray:
        L = np.zeros((self.moments.q, self.moments.q))
        L[self.where] = x
        return L

    def profile(self, x: np.ndarray) -> tuple:
        m = self.moments
        self.evaluations += 1
        return profile(m.A, m.count, m.M, m.G, float(m.n), self.restricted, self.relative(x))

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, L_bar, *_ = self.profile(x)
        return value, L_bar[self.where]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Central differences of the gradient."""
        h = 1e-5 * np.maximum(1.0, np.abs(x))
        columns = [
            (self(x + step)[1] - self(x - step)[1]) / (2.0 * width) for step, width in zip(np.diag(h), h, strict=True)
        ]
        hessian = np.array(columns)
        return 0.5 * (hessian + hessian.T)


def maximise(moments: Moments, restricted: bool = True) -> Optimum:
    """Find the ML or REML estimate.

    Parameters
    ----------
    moments : Moments
    restricted : bool
        True for REML, False for ML.

    Returns
    -------
    Optimum
    """
    deviance = _Deviance(moments, restricted)
    rows, columns = deviance.where
    identity = (rows == columns).astype(float)
    candidates = sorted((deviance(scale * identity)[0], scale) for scale in SCALES)
    x, value = _descend(deviance, candidates[0][1] * identity)
    # A boundary answer can be a saddle seen from inside, and far starts can stall: look again.
    if _smallest(deviance.relative(x)) < SINGULAR:
        slope = 0.3 * (rows != columns)
        for start in (0.3 * identity + slope, 0.3 * identity - slope, 3.0 * identity):
            other, other_value = _descend(deviance, start)
            if other_value < value - 1e-9:
                x, value = other, other_value
    x = _snap(deviance, x, value)

    value, L_bar, sigma, t, chol = deviance.profile(x)
    stretch = np.maximum(1.0, np.abs(x))
    slope = float(np.abs(stretch * L_bar[deviance.where]).max())
    hessian = stretch[:, None] * deviance.hessian(x) * stretch
    curvature = float(np.linalg.eigvalsh(hessian)[0]) if np.isfinite(hessian).all() else np.nan
    singular = _smallest(deviance.relative(x)) < SINGULAR
    scale = max(1.0, float(np.abs(np.diag(hessian)).max()))
    converged = bool(np.isfinite(value) and slope <= GRADIENT * scale and curvature > -1e-4 * scale)
    message = (
        "converged"
        if converged
        else (f"not converged: largest gradient {slope:.2g}, smallest curvature {curvature:.2g}")
    )
    if singular:
        message += "; singular: the estimate lies on the boundary of the parameter space"
    m = moments
    dof = m.n - m.p if restricted else m.n
    offset = 2.0 * dof * np.log(m.scale) + (2.0 * np.log(np.diag(m.R)).sum() if restricted else 0.0)
    relative = deviance.relative(x)
    return Optimum(
        relative * np.where(np.diag(relative) < 0, -1.0, 1.0), float(value + offset), float(sigma), t, chol,
        slope, curvature, singular, converged, deviance.evaluations, message,
    )  # fmt: skip


def _descend(deviance: _Deviance, x: np.ndarray) -> tuple[np.ndarray, float]:
    """L-BFGS-B to the neighbourhood of a minimum, Newton steps to its bottom."""
    found = minimize(deviance, x, jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 1e-13, "maxiter": 500})
    x, value = found.x, float(found.fun)
    gradient = deviance(x)[1]
    for _ in range(8):
        if np.abs(gradient).max() < 1e-9:
            break
        hessian = deviance.hessian(x)
        if not np.isfinite(hessian).all():
            break
        values, vectors = np.linalg.eigh(hessian)
        floor = 1e-10 * max(1.0, float(np.abs(values).max()))
        step = -vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), floor))
        trial_value, trial_gradient = deviance(x + step)
        if (
            not trial_value <= value + ROUNDING * max(1.0, abs(value))
            or np.abs(trial_gradient).max() >= np.abs(gradient).max()
        ):
            break
        x, value, gradient = x + step, min(value, trial_value), trial_gradient
    return x, value


def _smallest(relative: np.ndarray) -> float:
    """Smallest relative standard deviation of the effects, in any direction."""
    return float(np.linalg.svd(relative, compute_uv=False)[-1])


def _snap(deviance: _Deviance, x: np.ndarray, value: float) -> np.ndarray:
    """Put entries that are zero but for the optimiser's tolerance exactly on the boundary."""
    rounded = np.where(np.abs(x) < SINGULAR, 0.0, x)
    if np.array_equal(rounded, x) or deviance(rounded)[0] > value + 1e-9:
        return x
    return rounded
