r"""One likelihood, one face: what REML, NUTS and the recovery of the effects all share.

`Marginal` bundles the moments of a design with the priors of its fixed effects. Its density is
that of the response given the covariance parameters

    θ = (standard deviations of the effects, partial correlations, σ, kept fixed effects)

with the random effects, and every fixed effect whose prior is Normal or flat, integrated out.
Maximised with flat priors it is REML; sampled it is the posterior.

The fixed effects are handled in the coordinates η of their priors: η = β, except that with centred
predictors the intercept is the expected response at the mean of the predictors,
``η₀ = β₀ + x̄ᵀ β``.

All numbers travel to compiled code in one flat vector (`Marginal.packed`), so that an Op, a
sampler and a test call the same function with the same two arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from scipy.linalg import solve_triangular

from hierbayes.covariance import factor, factor_adjoint
from hierbayes.design import Design
from hierbayes.kernel import absorb, density, effects, integrate
from hierbayes.moments import Moments, take_moments
from hierbayes.priors import Priors

HEADER = 10
"""Length of the header of the packed vector."""


@njit(cache=True, nogil=True, error_model="numpy")
def _unpack(packed: np.ndarray) -> tuple:
    """Views of the arrays in the packed vector."""
    q, lanes, p, pi, pk, blocks, partials = (
        int(packed[0]),
        int(packed[1]),
        int(packed[2]),
        int(packed[3]),
        int(packed[4]),
        int(packed[5]),
        int(packed[6]),
    )
    n, scale = packed[7], packed[8]
    m = p + 1
    at = HEADER
    sizes = np.empty(blocks, dtype=np.int64)
    correlated = np.empty(blocks, dtype=np.int64)
    for block in range(blocks):
        sizes[block] = int(packed[at + block])
        correlated[block] = int(packed[at + blocks + block])
    at += 2 * blocks
    A = packed[at : at + q * q * lanes].reshape((q, q, lanes))
    at += q * q * lanes
    count = packed[at : at + lanes]
    at += lanes
    M = packed[at : at + q * m * lanes].reshape((q, m, lanes))
    at += q * m * lanes
    G = packed[at : at + m * m].reshape((m, m))
    at += m * m
    E = packed[at : at + q * q].reshape((q, q))
    at += q * q
    Di = packed[at : at + p * pi].reshape((p, pi))
    at += p * pi
    precision = packed[at : at + pi]
    at += pi
    mean = packed[at : at + pi]
    at += pi
    Dk = packed[at : at + p * pk].reshape((p, pk))
    at += p * pk
    origin = packed[at : at + pk]
    return partials, n, scale, sizes, correlated, A, count, M, G, E, Di, precision, mean, Dk, origin


@njit(cache=True, nogil=True, error_model="numpy")
def _relative(
    theta: np.ndarray, q: int, partials: int, sizes: np.ndarray, correlated: np.ndarray, E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Λ = E L / σ in the coordinates of the moments, and L."""
    sigma = theta[q + partials]
    L = factor(theta[:q], theta[q : q + partials], sizes, correlated)
    relative = np.zeros((q, q))
    for i in range(q):
        for j in range(q):
            for k in range(i, q):
                relative[i, j] += E[i, k] * L[k, j] / sigma
    return relative, L


@njit(cache=True, nogil=True, error_model="numpy")
def log_density(theta: np.ndarray, packed: np.ndarray) -> tuple[float, np.ndarray]:
    """Log marginal density of the response and its gradient.

    Parameters
    ----------
    theta : (d,) array
        Standard deviations (q), partial correlations, σ, kept fixed effects, in the user's units.
    packed : array
        `Marginal.packed`.

    Returns
    -------
    value : float
    gradient : (d,) array
    """
    partials, n, scale, sizes, correlated, A, count, M, G, E, Di, precision, mean, Dk, origin = _unpack(packed)
    q = E.shape[0]
    sigma = theta[q + partials]
    relative, _ = _relative(theta, q, partials, sizes, correlated, E)
    value, relative_bar, sigma_bar, kept_bar = density(
        A,
        count,
        M,
        G,
        n,
        relative,
        sigma / scale,
        Di,
        precision,
        mean,
        Dk,
        theta[q + partials + 1 :] - origin,
    )
    L_bar = np.zeros((q, q))
    shift = 0.0
    for i in range(q):
        for j in range(q):
            shift += relative_bar[i, j] * relative[i, j]
            for k in range(i + 1):
                L_bar[i, j] += E[k, i] * relative_bar[k, j] / sigma
    gradient = np.empty(theta.size)
    sd_bar, partial_bar = factor_adjoint(theta[:q], theta[q : q + partials], sizes, correlated, L_bar)
    for i in range(q):
        gradient[i] = sd_bar[i]
    for i in range(partials):
        gradient[q + i] = partial_bar[i]
    gradient[q + partials] = sigma_bar / scale - shift / sigma
    for i in range(kept_bar.size):
        gradient[q + partials + 1 + i] = kept_bar[i]
    return value - n * math.log(scale), gradient


@njit(cache=True, nogil=True, error_model="numpy")
def _condition(
    thetas: np.ndarray,
    packed: np.ndarray,
    noise: np.ndarray,
    ts: np.ndarray,
    us: np.ndarray,
    relatives: np.ndarray,
    factors: np.ndarray,
) -> None:
    """For every draw of θ: draw the integrated coefficients; keep what the random effects need."""
    partials, _, scale, sizes, correlated, A, count, M, G, E, Di, precision, mean, Dk, origin = _unpack(packed)
    q = E.shape[0]
    pi = Di.shape[1]
    for s in range(len(thetas)):
        theta = thetas[s]
        relative, L = _relative(theta, q, partials, sizes, correlated, E)
        K, _ = absorb(A, count, M, G, relative)
        kept = theta[q + partials + 1 :] - origin
        _, t, u, chol = integrate(K, theta[q + partials] / scale, Di, precision, mean, Dk, kept)
        for back in range(pi):
            i = pi - 1 - back
            x = noise[s, i]
            for k in range(i + 1, pi):
                x -= chol[k, i] * noise[s, k]
            noise[s, i] = x / chol[i, i]
        for i in range(pi):
            us[s, i] = u[i] + noise[s, i]
            for a in range(Di.shape[0]):
                t[a] -= Di[a, i] * noise[s, i]
        for a in range(t.size):
            ts[s, a] = t[a]
        for i in range(q):
            for j in range(q):
                relatives[s, i, j] = relative[i, j]
                factors[s, i, j] = L[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _effects_of_draws(
    A: np.ndarray,
    M: np.ndarray,
    E_inverse: np.ndarray,
    scale: float,
    ts: np.ndarray,
    relatives: np.ndarray,
    sigmas: np.ndarray,
    z: np.ndarray,
) -> None:
    """Turn standard normal noise z, (draws, q, J), into draws of the random effects, in place."""
    q = E_inverse.shape[0]
    for s in range(len(z)):
        B = np.zeros((q, q))
        for i in range(q):
            for j in range(q):
                for k in range(i, q):
                    B[i, j] += scale * E_inverse[i, k] * relatives[s, k, j]
        effects(A, M, relatives[s], B, ts[s], sigmas[s] / scale, z[s])


@dataclass(frozen=True)
class Conditionals:
    """What a set of draws of θ implies for everything that was integrated out.

    Parameters
    ----------
    fixef : (draws, p) array
        Draws of all fixed effects, uncentred.
    t : (draws, p + 1) array
    relative : (draws, q, q) array
        Λ, in the coordinates of the moments.
    sigma : (draws,) array
    L : (draws, q, q) array
        Factor of the covariance of the random effects.
    """

    fixef: np.ndarray
    t: np.ndarray
    relative: np.ndarray
    sigma: np.ndarray
    L: np.ndarray


class Marginal:
    """Marginal likelihood of a design, with the priors of its fixed effects.

    Parameters
    ----------
    design : Design
    priors : Priors or None
        None takes a flat prior on every fixed effect: the restricted likelihood.
    moments : Moments, optional
        Of the same design, if they have been taken already.
    kept : (p,) bool array, optional
        Fixed effects to keep in θ; by default those that the priors do not let us integrate out.

    Attributes
    ----------
    moments : Moments
    kept : (p,) bool array
        Fixed effects that θ contains.
    dim : int
        Length of θ.
    """

    def __init__(
        self,
        design: Design,
        priors: Priors | None = None,
        moments: Moments | None = None,
        kept: np.ndarray | None = None,
    ) -> None:
        self.design = design
        self.moments = take_moments(design) if moments is None else moments
        p = self.moments.p
        if kept is None:
            kept = np.zeros(p, dtype=bool) if priors is None else priors.kept
        self.kept = kept
        self._mean = np.zeros(p)
        self._precision = np.zeros(p)
        self._centering = np.eye(p)
        if priors is None:
            return
        for i, prior in enumerate(priors.coefficients):
            if prior.name == "Normal" and prior.integrable:
                self._mean[i] = prior.args["mu"]
                self._precision[i] = prior.args["sigma"] ** -2.0
        if priors.centered and design.intercept is not None:
            self._centering[design.intercept] = design.X.mean(axis=0)

    @property
    def origin(self) -> np.ndarray:
        """(p,) least-squares coefficients in the coordinates of the priors."""
        return self._centering @ self.moments.ols

    @property
    def dim(self) -> int:
        """Length of θ."""
        return self.moments.q + self.moments.layout.n_partial + 1 + int(self.kept.sum())

    @cached_property
    def packed(self) -> np.ndarray:
        """Everything the compiled functions need, as one flat vector."""
        m = self.moments
        D = m.R @ np.linalg.inv(self._centering) / m.scale
        ols = self.origin
        kept, integrated = self.kept, ~self.kept
        sizes, correlated = m.layout.arrays
        lanes = m.A.shape[2]
        header = [
            m.q, lanes, m.p, integrated.sum(), kept.sum(), len(sizes), m.layout.n_partial, m.n, m.scale, 0.0,
        ]  # fmt: skip
        parts = [
            header, sizes, correlated, m.A, m.count, m.M, m.G, m.E, D[:, integrated],
            self._precision[integrated], (self._mean - ols)[integrated], D[:, kept], ols[kept],
        ]  # fmt: skip
        return np.concatenate([np.ravel(part).astype(float) for part in parts])

    def log_density(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Log marginal density at θ and its gradient; see `log_density`."""
        return log_density(np.asarray(theta, dtype=float), self.packed)

    def condition(self, thetas: np.ndarray, rng: np.random.Generator) -> Conditionals:
        """Draw the fixed effects that were integrated out, one draw for each θ.

        Parameters
        ----------
        thetas : (draws, dim) array
        rng : numpy.random.Generator

        Returns
        -------
        Conditionals
        """
        m = self.moments
        draws = len(thetas)
        integrated = ~self.kept
        thetas = np.ascontiguousarray(thetas, dtype=float)
        noise = rng.standard_normal((draws, int(integrated.sum())))
        t = np.empty((draws, m.p + 1))
        u = np.empty_like(noise)
        relative = np.empty((draws, m.q, m.q))
        L = np.empty_like(relative)
        _condition(thetas, self.packed, noise, t, u, relative, L)
        eta = np.empty((draws, m.p))
        eta[:, integrated] = u + self.origin[integrated]
        eta[:, self.kept] = thetas[:, m.q + m.layout.n_partial + 1 :]
        fixef = eta @ np.linalg.inv(self._centering).T
        return Conditionals(fixef, t, relative, thetas[:, m.q + m.layout.n_partial], L)

    def draw_effects(self, given: Conditionals, z: np.ndarray, levels: slice, draws: slice) -> None:
        """Overwrite standard normal noise with exact draws of the random effects.

        Parameters
        ----------
        given : Conditionals
        z : (draws, q, levels) array
            Noise in, effects out, in the user's units; for the given slices of draws and levels.
        levels, draws : slice
        """
        m = self.moments
        E_inverse = solve_triangular(m.E, np.eye(m.q))
        A = np.ascontiguousarray(m.A_levels[:, :, levels])
        M = np.ascontiguousarray(m.M_levels[:, :, levels])
        _effects_of_draws(A, M, E_inverse, m.scale, given.t[draws], given.relative[draws], given.sigma[draws], z)
