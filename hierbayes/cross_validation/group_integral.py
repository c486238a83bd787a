r"""Random effects of a level integrated out of the density of its rows, for any family.

Given the parameters θ of a draw and what else is in the linear predictor, the rows of level j with effects
``b = L v``, ``v ~ N(0, I)``, q of them, have the densities

    p(y_j | θ) = ∫ Π_i p(y_i | η_i + z_iᵀL v) N(v; 0, I) dv
    p(y_i | y_j without i, θ) = p(y_j | θ) / ∫ Π_{l≠i} p(y_l | η_l + z_lᵀL v) N(v; 0, I) dv

so that a row is predicted from the others of its level without a draw of b that has seen it (Vehtari, Mononen,
Tolvanen, Sivula & Winther 2016, Journal of Machine Learning Research 17 (103); Merkle, Furr & Rabe-Hesketh 2019,
Psychometrika 84, 802). All integrals of a draw and level share their nodes

    v_k = m + S u_k,   m the mode of the integrand of all rows, S Sᵀ the inverse of its curvature there,

m and S by a few Newton steps from the draw of b, which is near the mode already. The u_k have to do for integrands
that are wider than that of all rows, up to the prior itself, and elsewhere. So they are no Gauss-Hermite nodes, which
are right for one width only, but equally spaced in t = arsinh(u), dense near the mode and reaching as far as the
prior does: the trapezoidal rule for an analytic integrand that falls off on both sides, as a Gaussian one does,

    ∫ f(u) du = ∫ f(sinh t) cosh t dt ≈ h Σ_k f(sinh kh) cosh kh,

has an error that falls exponentially with 1/h (Trefethen & Weideman 2014, SIAM Review 56, 385), about
exp(-π²/(2h)) for a Gaussian of the width of S: 3e-9 for h = 1/4. One effect takes some 25 nodes, two and three a
tensor product with h = 0.4 and 0.6. Four and more take quasi-random points of a t distribution instead, which are
good to a few tenths. Where a single row has moved the mode by more than eight standard deviations, of the prior or
of what the other rows say, the nodes are too far apart for what is left without it; and of a density that is not
log-concave (Student's t) they resolve the mode next to the draw only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import gammaln

LogDensity = Callable[[np.ndarray], np.ndarray]
"""(draws, n) linear predictors → (draws, n) log densities."""

STEP = {1: 0.25, 2: 0.4, 3: 0.6}
"""Distance of nodes in t, by the number of effects of a level."""
BEYOND = 6.0
"""How many standard deviations of the prior the nodes reach."""
FARTHEST = 1e5
"""In standard deviations of the integrand; beyond, the prior counts as flat."""
POINTS, DF = 2048, 3.0
"""Quasi-random points for four and more effects, and degrees of freedom of their t distribution."""
NEWTON, NEAR = 12, 0.05
"""Newton steps at most, and the step, in standard deviations of the integrand, that is the last."""
NEGLIGIBLE = math.log(1e-9)
"""Share of an integral that the nodes of a shell may add for it to be the last."""
LOWEST = -1e10
"""Log density of what is impossible at a node, so that sums and differences stay finite."""
DIFFERENCE = 1e-3
"""Step of the differences that stand for derivatives, in standard deviations of what the effects add to a row."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Rows and the standardised effects of their levels.

    Parameters
    ----------
    columns : (draws, n, q) array
        z_iᵀ L of each draw.
    codes : (n,) int array
        Level of each row, from 0; every level has rows.
    start : (draws, levels, q) array
        Where to look for the mode: draws of v.
    """

    columns: np.ndarray
    codes: np.ndarray
    start: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum the rows of each level: (draws, n) → (draws, levels)."""
        order = np.argsort(self.codes, kind="stable")
        begins = np.r_[0, np.cumsum(np.bincount(self.codes))[:-1]]
        summed: np.ndarray = np.add.reduceat(values[:, order], begins, axis=1)
        return summed

    def added(self, v: np.ndarray) -> np.ndarray:
        """What the effects (draws, levels, q) add to each row, (draws, n)."""
        return np.einsum("dnq,dnq->dn", self.columns, v[:, self.codes])

    def inner(self, weights: np.ndarray) -> np.ndarray:
        """Weighted inner products of the columns, level by level, (draws, levels, q, q)."""
        q = self.columns.shape[-1]
        made = np.empty((*self.start.shape, q))
        for i in range(q):
            for j in range(i + 1):
                made[..., i, j] = self.sums(weights * (self.columns[..., i] * self.columns[..., j]))
                made[..., j, i] = made[..., i, j]
        return made


@dataclass(frozen=True, eq=False)
class Centre:
    """Where the integrands are.

    Parameters
    ----------
    mode : (draws, levels, q) array
    scale : (draws, levels, q, q) array
        S, triangular.
    reach : float
        Up to where, in units of S, an integrand with fewer rows has mass, for all draws and levels.
    """

    mode: np.ndarray
    scale: np.ndarray
    reach: float


@dataclass(frozen=True, eq=False)
class Integrals:
    """What comes out, in logarithms.

    Parameters
    ----------
    level : (draws, levels) array
        log p(y_j | θ).
    row : (draws, n) array or None
        log p(y_i | the others of its level, θ).
    sampled : (draws, n) array or None
        Draws of what the effects add to a row, given the other rows of its level.
    """

    level: np.ndarray
    row: np.ndarray | None
    sampled: np.ndarray | None


def rule(q: int, reach: float, step: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and log weights of an integral over q dimensions, from the mode outwards.

    Parameters
    ----------
    q : int
    reach : float
        How far out from the mode, in standard deviations at the mode.
    step : float, optional
        Distance of nodes in t; by default `STEP`.

    Returns
    -------
    nodes : (K, q) array
    log_weights : (K,) array
    shells : (K,) int array
        Nodes of one shell are equally far out; all 0 for quasi-random points.

    Examples
    --------
    >>> u, log_w, shells = rule(1, 10.0)
    >>> len(u), round(float(np.exp(log_w - 0.5 * u[:, 0] ** 2).sum() / np.sqrt(2 * np.pi)), 8)
    (25, 1.0)
    """
    if q in STEP:
        h = STEP[q] if step is None else step
        k = math.ceil(math.asinh(reach) / h)
        places = np.stack(np.meshgrid(*[np.arange(-k, k + 1)] * q, indexing="ij"), axis=-1).reshape(-1, q)
        shells = np.abs(places).max(axis=1)
        outwards = np.argsort(shells, kind="stable")
        t = h * places[outwards]
        return np.sinh(t), (math.log(h) + np.log(np.cosh(t))).sum(axis=1), shells[outwards]
    uniform = stats.qmc.Sobol(q + 1, rng=0).random(POINTS)
    spread = np.sqrt(stats.chi2.ppf(uniform[:, -1:], DF) / DF)
    u = stats.norm.ppf(uniform[:, :-1]) / spread
    constant = gammaln(0.5 * (DF + q)) - gammaln(0.5 * DF) - 0.5 * q * math.log(DF * math.pi)
    log_density = constant - 0.5 * (DF + q) * np.log1p((u * u).sum(axis=1) / DF)
    return u, -log_density - math.log(POINTS), np.zeros(POINTS, dtype=int)


def find_centre(log_density: LogDensity, base: np.ndarray, effects: Effects) -> Centre:
    """Mode and curvature of every integrand.

    Parameters
    ----------
    log_density : callable
    base : (draws, n) array
        The linear predictor without these effects.
    effects : Effects

    Returns
    -------
    Centre
    """
    columns, q = effects.columns, effects.columns.shape[-1]
    e = DIFFERENCE * np.sqrt((columns * columns).sum(axis=-1))
    e = np.where(e > 0, e, 1.0)
    v, H = effects.start, np.empty(0)
    for _ in range(NEWTON):
        eta = base + effects.added(v)
        above, here, below = log_density(eta + e), log_density(eta), log_density(eta - e)
        with np.errstate(invalid="ignore"):
            first = np.nan_to_num((above - below) / (2.0 * e), posinf=0.0, neginf=0.0)
            second = np.nan_to_num((here - above + here - below) / (e * e), posinf=0.0, neginf=0.0)
        H = np.eye(q) + effects.inner(np.maximum(second, 0.0))
        gradient = np.stack([effects.sums(first * columns[..., k]) for k in range(q)], axis=-1) - v
        move = np.linalg.solve(H, gradient[..., None])[..., 0]
        length = np.sqrt((move * move).sum(axis=-1, keepdims=True))
        v = v + move / np.maximum(length, 1.0)  # no more than a standard deviation of the prior at a time
        if np.einsum("djq,djqr,djr->dj", move, H, move).max() < NEAR**2:
            break
    return centre_at(v, H)


def centre_at(mode: np.ndarray, H: np.ndarray) -> Centre:
    """The centre with a mode (draws, levels, q) and a curvature (draws, levels, q, q), that of the prior in it."""
    away = np.sqrt(np.einsum("djq,djqr,djr->dj", mode, H, mode))
    widest = np.sqrt(np.trace(H, axis1=-2, axis2=-1))
    reach = min(float((BEYOND * widest + away).max()), FARTHEST)
    return Centre(mode, np.linalg.inv(np.linalg.cholesky(H)).swapaxes(-1, -2), reach)


def integrate(
    log_density: LogDensity,
    base: np.ndarray,
    effects: Effects,
    rows: bool = True,
    rng: np.random.Generator | None = None,
    step: float | None = None,
    centre: Centre | None = None,
) -> Integrals:
    """Integrate the effects of all levels, for all draws.

    Parameters
    ----------
    log_density, base, effects
        As of `find_centre`.
    rows : bool, default True
        Leave out each row of a level, too.
    rng : numpy.random.Generator, optional
        Draw the effects given the other rows of the level, too: among the nodes, over which averages of
        smooth functions are as good as over the effects.
    step : float, optional
        As of `rule`.
    centre : Centre, optional
        By default that of `find_centre`.

    Returns
    -------
    Integrals

    Examples
    --------
    >>> y = np.array([0.3, 1.1])
    >>> both = Effects(np.ones((1, 2, 1)), np.zeros(2, dtype=int), np.zeros((1, 1, 1)))
    >>> found = integrate(lambda eta: stats.norm.logpdf(y, eta), np.zeros((1, 2)), both)
    >>> exact = stats.multivariate_normal.logpdf(y, cov=np.eye(2) + 1.0)
    >>> bool(abs(found.level[0, 0] - exact) < 1e-8)
    True
    """
    centre = find_centre(log_density, base, effects) if centre is None else centre
    q, codes = effects.columns.shape[-1], effects.codes
    constant = np.linalg.slogdet(centre.scale)[1] - 0.5 * q * math.log(2.0 * math.pi)
    each = rows or rng is not None
    whole = np.full(effects.start.shape[:2], -np.inf)
    left = np.full(base.shape, -np.inf)
    sampled = np.zeros(base.shape)
    nodes, log_weights, shells = rule(q, centre.reach, step)
    for shell in range(shells[-1] + 1):
        added_most = -np.inf
        for k in np.flatnonzero(shells == shell):
            v = centre.mode + np.einsum("djqr,r->djq", centre.scale, nodes[k])
            added = effects.added(v)
            log_p = np.maximum(np.nan_to_num(log_density(base + added), nan=LOWEST), LOWEST)
            terms = constant + log_weights[k] - 0.5 * (v * v).sum(axis=-1) + effects.sums(log_p)
            whole = np.logaddexp(whole, terms)
            added_most = max(added_most, float((terms - whole).max()))
            if each:
                others = terms[:, codes] - log_p
                left = np.logaddexp(left, others)
                added_most = max(added_most, float((others - left).max()))
            if rng is not None:  # each node with the probability of its share of the sum so far
                sampled = np.where(np.log(rng.random(base.shape)) < others - left, added, sampled)
        if added_most < NEGLIGIBLE:
            break
    return Integrals(whole, whole[:, codes] - left if each else None, None if rng is None else sampled)
