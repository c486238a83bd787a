r"""Maximum likelihood and restricted maximum likelihood, by maximising the marginal likelihood.

With σ and the fixed effects profiled, -2 log likelihood is a function of the free entries x of the
relative factor Λ (and of Fisher's z of a residual correlation) alone, see
`hierbayes.kernel_marginal.deviance`. It is minimised by BFGS with analytic gradients from a start that the
spread of the groups suggests, then polished by Newton steps whose Hessian is a difference of
gradients, so that the answer is good to about eight digits in Λ. The signs of the columns of Λ are
free, so no bounds are needed: a variance of zero is an interior stationary point.

An answer that is singular, or not clearly a minimum, is checked from further starts before it is
believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hierbayes.kernel_descent import descend, descend_all
from hierbayes.kernel_marginal import deviance
from hierbayes.marginal import Marginal
from hierbayes.moments import Rows

SINGULAR = 1e-4
"""A relative standard deviation below this is on the boundary (lme4's tolerance)."""
DIGITS = 1e-7
"""Converged means also: K has lost no more than this by cancellation, relative to σ²."""
GRADIENT = 1e-5
"""Converged means: no component of the gradient of -2 log likelihood is larger than this. Where an entry of Λ
is larger than 1 the gradient is per relative change of it, here and in `Optimum`."""
SCALES = (0.03, 0.3, 3.0, 30.0, 1000.0)
"""Relative standard deviations tried as further starting points."""


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
    rho : float
        Residual correlation, 0 if there is none.
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
    rho: float
    t: np.ndarray
    chol: np.ndarray
    gradient: float
    curvature: float
    singular: bool
    converged: bool
    evaluations: int
    message: str


class _Search:
    """The likelihood of one design as a function of x, and the best answer so far."""

    def __init__(self, marginal: Marginal, restricted: bool) -> None:
        self.marginal = marginal
        self.rows, self.columns = np.nonzero(marginal.moments.layout.mask)
        self.arguments = (self.rows, self.columns, restricted, marginal.packed, *marginal.plan)
        self.correlated = marginal.design.residual is not None
        self.dim = len(self.rows) + self.correlated
        self.stiffness = np.ones(self.dim)
        self.evaluations = 0

    def relative(self, x: np.ndarray) -> np.ndarray:
        q = self.marginal.moments.q
        L = np.zeros((q, q))
        L[self.rows, self.columns] = x[: len(self.rows)]
        return L

    def profile(self, x: np.ndarray) -> tuple:
        self.evaluations += 1
        return deviance(x, *self.arguments)

    def descend(self, x: np.ndarray) -> tuple:
        *found, evaluations = descend(x, self.stiffness, *self.arguments)
        self.evaluations += evaluations
        return tuple(found)

    def best(self, starts: list[np.ndarray], best: tuple | None = None) -> tuple:
        """The lowest minimum from several starts, or the one at hand if that is as low."""
        for start in starts:
            other = self.descend(start)
            if best is None or other[1] < best[1] - 1e-9 or not np.isfinite(best[1]):
                best = other
        assert best is not None
        return best

    @property
    def zs(self) -> tuple[float, ...]:
        """Fisher's z of the residual correlation to start from: its likelihood can have several maxima."""
        return (0.0, 1.0, -1.0) if self.correlated else (0.0,)

    def with_z(self, x: np.ndarray, z: float) -> np.ndarray:
        """Parameters with another residual correlation."""
        if self.correlated:
            x = np.append(x[:-1], z)
        return x

    def at(self, diagonal: Any, below: float = 0.0) -> np.ndarray:
        """Parameters with a given diagonal of Λ and, below it, one number."""
        diagonal = np.broadcast_to(diagonal, self.marginal.moments.q)
        x = np.zeros(self.dim)
        on = self.rows == self.columns
        x[: len(self.rows)] = np.where(on, diagonal[self.rows], below)
        return x

    def smallest(self, x: np.ndarray) -> float:
        """Smallest relative standard deviation of the effects of a level, in any direction."""
        relative = self.relative(x)
        if not len(relative):
            return math.inf
        if len(relative) == 1:
            return abs(float(relative[0, 0]))
        return float(np.linalg.svd(relative, compute_uv=False)[-1])


def maximise(marginal: Marginal, restricted: bool = True) -> Optimum:
    """Find the ML or REML estimate.

    Parameters
    ----------
    marginal : Marginal
        Its priors play no part.
    restricted : bool
        True for REML, False for ML.

    Returns
    -------
    Optimum
    """
    with marginal.one_thread():
        return _maximise(marginal, restricted)


def _maximise(marginal: Marginal, restricted: bool) -> Optimum:
    m = marginal.moments
    search = _Search(marginal, restricted)
    guess, stiffness = suggest(marginal)
    search.stiffness = np.append(stiffness[search.rows, search.columns], float(m.n) if search.correlated else [])
    best = search.best([search.with_z(search.at(guess), z) for z in search.zs])
    # A boundary answer can be a saddle seen from inside, and far starts can stall: look again.
    if search.smallest(best[0]) < SINGULAR or not _convincing(best[1], *_judge(best[0], best[2], best[3])):
        scale = min(SCALES, key=lambda scale: search.profile(search.at(scale))[0])
        further = [search.at(scale), search.at(0.3, 0.3), search.at(0.3, -0.3), search.at(3.0)]
        best = search.best([search.with_z(x, z) for x in further for z in search.zs], best)
    x, value, gradient, hessian, sigma, t, chol = best
    snapped = _snap(search, x, value)
    if snapped is not x:
        x = snapped
        value, gradient, sigma, t, chol = search.profile(x)
    judged = _judge(x, gradient, hessian)
    slope, curvature, _ = judged
    relative = search.relative(x)
    singular = search.smallest(x) < SINGULAR
    converged = _convincing(value, *judged)
    message = (
        "converged"
        if converged
        else f"not converged: largest gradient {slope:.2g}, smallest curvature {curvature:.2g}"
    )
    if converged and np.finfo(float).eps > DIGITS * sigma**2:
        converged = False
        message = (
            f"not converged: the residuals are {sigma:.0e} times the spread of the response, "
            "too small to be told from rounding"
        )
    if singular:
        message += "; singular: the estimate lies on the boundary of the parameter space"
    dof = m.n - m.p if restricted else m.n
    offset = 2.0 * dof * math.log(m.scale) - 2.0 * m.constant
    if restricted:
        offset += 2.0 * float(np.log(np.diag(m.R)).sum())
    rho = float(marginal.rho(np.tanh(x[-1]))) if search.correlated else 0.0
    return Optimum(
        relative * np.where(np.diag(relative) < 0, -1.0, 1.0), float(value + offset), float(sigma), rho, t, chol,
        slope, curvature, singular, converged, search.evaluations, message,
    )  # fmt: skip


def suggest(marginal: Marginal) -> tuple[np.ndarray, np.ndarray]:
    """Where to start: the spread of the groups' own estimates less their noise, as if each effect were alone.

    Parameters
    ----------
    marginal : Marginal

    Returns
    -------
    sd : (q,) array
        Relative standard deviations.
    stiffness : (q, q) array
        Expected second derivative of -2 log likelihood by each entry of Λ there.
    """
    m = marginal.moments
    sd = np.empty(m.q)
    information = []
    for k, (A, c) in enumerate(m.diagonals()):
        # with λ alone, c has variance A + λ²A² over σ²
        excess = float((c * c - A).sum()) / float((A * A).sum())
        sd[k] = math.sqrt(min(max(excess, 0.01), 100.0))
        information.append(A / (1.0 + A * sd[k] ** 2))
    stiffness = np.ones((m.q, m.q))
    for part in marginal.design.parts:
        for i in range(part.where.start, part.where.stop):
            for j in range(part.where.start, i + 1):
                both = float(information[i] @ information[j])
                stiffness[i, j] = max((4.0 if i == j else 2.0) * sd[j] ** 2 * both, 1e-3)
    return sd, stiffness


def _judge(x: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> tuple[float, float, float]:
    """Largest gradient, smallest and largest curvature, per relative change where x is large."""
    if not len(x):
        return 0.0, math.inf, 1.0
    stretch = np.maximum(1.0, np.abs(x))
    slope = float(np.abs(stretch * gradient).max())
    hessian = stretch[:, None] * hessian * stretch
    scale = max(1.0, float(np.abs(hessian.diagonal()).max()))
    if len(x) == 1:
        return slope, float(hessian[0, 0]), scale
    return slope, float(np.linalg.eigvalsh(hessian)[0]) if np.isfinite(hessian).all() else math.nan, scale


def _convincing(value: float, slope: float, curvature: float, scale: float) -> bool:
    """Whether gradient and curvature are those of a minimum."""
    return bool(np.isfinite(value) and slope <= GRADIENT * scale and curvature > -1e-4 * scale)


def _snap(search: _Search, x: np.ndarray, value: float) -> np.ndarray:
    """Put entries that are zero but for the optimiser's tolerance exactly on the boundary."""
    rounded = np.where(np.abs(x) < SINGULAR, 0.0, x)
    if search.correlated:
        rounded[-1] = x[-1]
    if np.array_equal(rounded, x) or search.profile(rounded)[0] > value + 1e-9:
        return x
    return rounded


@dataclass(frozen=True)
class Minima:
    """Answers for many responses of one design.

    Parameters
    ----------
    deviance : (k,) array
        -2 log (restricted) likelihood.
    fixef : (k, p) array
    vcov : (k, p, p) array
    covariance : (k, q, q) array
        Of the random effects.
    sigma : (k,) array
    clear : (k,) bool array
        The answer is inside the parameter space, and gradient and curvature are those of a minimum; any other
        deserves the care of `maximise`.
    """

    deviance: np.ndarray
    fixef: np.ndarray
    vcov: np.ndarray
    covariance: np.ndarray
    sigma: np.ndarray
    clear: np.ndarray


def maximise_all(marginal: Marginal, prepared: Rows, Y: np.ndarray, restricted: bool = True) -> Minima:
    """Fit many responses of one design with independent residuals, each from the estimate for its own.

    Parameters
    ----------
    marginal : Marginal
        Of the moments of `prepared`.
    prepared : Rows
    Y : (k, n) array
    restricted : bool
        True for REML, False for ML.

    Returns
    -------
    Minima
    """
    m = marginal.moments
    search = _Search(marginal, restricted)
    guess, stiffness = suggest(marginal)
    search.stiffness = stiffness[search.rows, search.columns]
    x, _, _, hessian, *_ = search.descend(search.at(guess))
    curved = np.diag(hessian)
    start = np.where(np.abs(x) < 0.1, 0.1 * (search.rows == search.columns), x)
    k, d, p = len(Y), len(x), m.p
    xs, values = np.empty((k, d)), np.empty((k, 5))
    chols, betas = np.empty((k, p, p)), np.empty((k, p))
    with marginal.one_thread():
        descend_all(
            prepared.scaled(Y), prepared.arrays, prepared.corner, start,
            np.where(curved > 1.0, curved, search.stiffness),
            search.rows, search.columns, restricted, marginal.packed, marginal.plan[0], xs, values, chols, betas,
        )  # fmt: skip
    relative = np.zeros((k, m.q, m.q))
    relative[:, search.rows, search.columns] = xs
    sigma = values[:, 1] * values[:, 2]
    factor = (np.linalg.inv(m.E) @ relative) * sigma[:, None, None]
    half = np.linalg.inv(chols.transpose(0, 2, 1) @ m.R) * sigma[:, None, None]
    dof = m.n - p if restricted else m.n
    offset = 2.0 * dof * np.log(values[:, 2]) - 2.0 * m.constant
    if restricted:
        offset += 2.0 * float(np.log(np.diag(m.R)).sum())
    spread = np.linalg.svd(relative, compute_uv=False)[:, -1] if m.q > 1 else np.abs(relative[:, 0, 0])
    clear = (spread >= SINGULAR) & np.isfinite(values[:, 0]) & (values[:, 3] <= GRADIENT) & (values[:, 4] > -1e-4)
    return Minima(
        values[:, 0] + offset, betas, half @ half.transpose(0, 2, 1), factor @ factor.transpose(0, 2, 1), sigma, clear
    )
