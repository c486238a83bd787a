r"""A slow, dense oracle, written from the definition of the model and from nothing else.

y = X β + Z b + ε with b_j ~ N(0, Σ) for each of J levels and ε ~ N(0, σ² I), so that

    y ~ N(X β, V),     V = Z (I ⊗ Σ) Zᵀ + σ² I

with a dense Z of n x qJ. A coefficient with a Normal prior N(m, s²) adds ``x m`` to the mean and ``s² x xᵀ`` to
the covariance; flat coefficients are integrated by the textbook's restricted likelihood. No formula here is
shared with the package: no Woodbury identity, no determinant lemma, no sufficient statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hierbayes.design import Block, Design, Factor, Term


@dataclass(frozen=True)
class Dense:
    """One data set, in dense matrices.

    Parameters
    ----------
    y : (n,) array
    X : (n, p) array
    Z : (n, q * J) array
        Level by level: column ``j * q + i`` is effect i of level j.
    J : int
        Number of levels.
    """

    y: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    J: int


def dense(design: Design) -> Dense:
    """Write out the matrix of rows x effects, entry by entry."""
    columns = np.concatenate([block.Z for block in design.blocks], axis=1)
    n, q = columns.shape
    J = len(design.factor.levels)
    Z = np.zeros((n, q * J))
    for row, level in enumerate(design.factor.codes):
        Z[row, level * q : (level + 1) * q] = columns[row]
    return Dense(design.y, design.X, Z, J)


def response_covariance(data: Dense, Sigma: np.ndarray, sigma: float) -> np.ndarray:
    """V = Z (I ⊗ Σ) Zᵀ + σ² I."""
    return data.Z @ np.kron(np.eye(data.J), Sigma) @ data.Z.T + sigma**2 * np.eye(len(data.y))


def log_normal(y: np.ndarray, mean: np.ndarray, V: np.ndarray) -> float:
    """Log density of N(mean, V) at y."""
    sign, logdet = np.linalg.slogdet(V)
    if sign <= 0:
        raise ValueError("the covariance of the response is not positive definite")
    r = y - mean
    return float(-0.5 * (len(y) * np.log(2.0 * np.pi) + logdet + r @ np.linalg.solve(V, r)))


def gls(y: np.ndarray, X: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Generalised least squares: estimate and its covariance (Xᵀ V⁻¹ X)⁻¹."""
    information = X.T @ np.linalg.solve(V, X)
    return np.linalg.solve(information, X.T @ np.linalg.solve(V, y)), np.linalg.inv(information)


def log_integrated(y: np.ndarray, X: np.ndarray, V: np.ndarray) -> float:
    """∫ N(y; X f, V) df with a flat prior: the restricted log likelihood (Harville 1974, Biometrika 61)."""
    estimate, _ = gls(y, X, V)
    information = X.T @ np.linalg.solve(V, X)
    logdet = np.linalg.slogdet(information)[1]
    return log_normal(y, X @ estimate, V) + 0.5 * X.shape[1] * np.log(2.0 * np.pi) - 0.5 * float(logdet)


def log_density(
    data: Dense,
    Sigma: np.ndarray,
    sigma: float,
    kept: np.ndarray,
    values: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    X: np.ndarray | None = None,
) -> float:
    """Log density of y given Σ, σ and the kept coefficients, all other coefficients integrated out.

    Parameters
    ----------
    data : Dense
    Sigma, sigma
        Of the random effects and of the residual.
    kept : (p,) bool array
        Coefficients that are given.
    values : (kept.sum(),) array
        Their values.
    mean, sd : (p,) arrays
        Normal prior of each other coefficient; an infinite sd is a flat prior.
    X : (n, p) array, optional
        In place of ``data.X``: centred, for priors that refer to centred predictors.
    """
    X = data.X if X is None else X
    normal = ~kept & np.isfinite(sd)
    flat = ~kept & np.isinf(sd)
    V = response_covariance(data, Sigma, sigma) + (X[:, normal] * sd[normal] ** 2) @ X[:, normal].T
    rest = data.y - X[:, kept] @ values - X[:, normal] @ mean[normal]
    return log_integrated(rest, X[:, flat], V) if flat.any() else log_normal(rest, np.zeros(len(rest)), V)


def centred(X: np.ndarray) -> np.ndarray:
    """X with every column but the constant first one at its deviations from its mean."""
    moved = X - X.mean(axis=0)
    moved[:, 0] = 1.0
    return moved


def conditional_effects(
    data: Dense, Sigma: np.ndarray, sigma: float, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of b given y and β, from the joint Gaussian of b and y.

    Returns
    -------
    mean : (q * J,) array
        With β at its GLS estimate the BLUPs.
    covariance : (q * J, q * J) array
    """
    prior = np.kron(np.eye(data.J), Sigma)
    V = response_covariance(data, Sigma, sigma)
    gain = np.linalg.solve(V, data.Z @ prior).T
    return gain @ (data.y - data.X @ beta), prior - gain @ data.Z @ prior


def joint_conditional(
    data: Dense, Sigma: np.ndarray, sigma: float, prior_mean: np.ndarray, prior_precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (β, b) given y, θ and a Gaussian prior of β (precision 0 for flat directions).

    β comes first; b given β follows by the law of total covariance, so that Σ may be singular.
    """
    V = response_covariance(data, Sigma, sigma)
    information = prior_precision + data.X.T @ np.linalg.solve(V, data.X)
    beta_cov = np.linalg.inv(information)
    beta = beta_cov @ (prior_precision @ prior_mean + data.X.T @ np.linalg.solve(V, data.y))
    effects, effects_cov = conditional_effects(data, Sigma, sigma, beta)
    slope = -np.linalg.solve(V, data.Z @ np.kron(np.eye(data.J), Sigma)).T @ data.X
    covariance = np.block(
        [[beta_cov, beta_cov @ slope.T], [slope @ beta_cov, effects_cov + slope @ beta_cov @ slope.T]]
    )
    return np.concatenate([beta, effects]), covariance


def covariance_of(sd: np.ndarray, corr: np.ndarray) -> np.ndarray:
    """Σ from standard deviations and a correlation matrix."""
    return corr * np.outer(sd, sd)


def correlation_from_partials(partial: np.ndarray, q: int) -> np.ndarray:
    """Correlation matrix from partial correlations, by the recursion that defines them.

    Entry (i, j), j < i, row by row, is the correlation of effects j and i given the effects before j:
    ``ρ_ij·S = r_ij √((1 - ρ_im·S²)(1 - ρ_jm·S²)) + ρ_im·S ρ_jm·S`` takes one condition m away at a time.
    """
    table = {}
    at = 0
    for i in range(1, q):
        for j in range(i):
            table[i, j] = partial[at]
            at += 1
    R = np.eye(q)
    for i, j in table:
        rho = table[i, j]
        for m in range(j - 1, -1, -1):
            a, b = table[i, m], table[j, m]
            rho = rho * np.sqrt((1.0 - a * a) * (1.0 - b * b)) + a * b
        R[i, j] = R[j, i] = rho
    return R


# --- gradients ----------------------------------------------------------------------------------

GRADIENT = 1e-6
"""Relative to the largest component (or to 1): what a Richardson difference can tell."""


def differences(function: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Gradient by central differences, extrapolated twice (Richardson)."""
    gradient = np.empty(x.size)
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        at = [(function(x + step / k) - function(x - step / k)) / (2.0 * h / k) for k in (1, 2, 4)]
        once = [(4.0 * at[1] - at[0]) / 3.0, (4.0 * at[2] - at[1]) / 3.0]
        gradient[i] = (16.0 * once[1] - once[0]) / 15.0
    return gradient


def assert_gradient(analytic: np.ndarray, numeric: np.ndarray) -> None:
    """Compare a gradient with differences."""
    np.testing.assert_allclose(analytic, numeric, rtol=0, atol=GRADIENT * max(1.0, np.abs(numeric).max()))


# --- designs ------------------------------------------------------------------------------------


def make_design(
    y: np.ndarray, X: np.ndarray, codes: np.ndarray, Z: list[np.ndarray], correlated: list[bool]
) -> Design:
    """A `Design` from bare arrays; the first column of X is called Intercept if it is constant."""
    names = [f"x{k}" for k in range(X.shape[1])]
    if X.shape[1] and np.all(X[:, 0] == 1.0):
        names[0] = "Intercept"
    factor = Factor("g", codes, np.array([f"level {j}" for j in range(codes.max() + 1)], dtype=object))
    blocks, count = [], 0
    for columns, free in zip(Z, correlated, strict=True):
        terms = tuple(Term(f"z{count + k}", (f"z{count + k}",)) for k in range(columns.shape[1]))
        count += columns.shape[1]
        blocks.append(Block(factor, terms, columns, free))
    return Design("y ~ ...", "y", y, X, tuple(Term(name, (name,)) for name in names), tuple(blocks))


UNBALANCED = (9, 1, 4, 1, 2, 7, 3)
"""Rows of each level: single rows and levels with fewer rows than effects among them."""
ONE_HUGE = (60, 2, 1, 3)
BALANCED = (4,) * 24
"""Many levels with one design, which moments compress."""


def random_design(
    seed: int,
    rows: tuple[int, ...],
    p: int,
    blocks: tuple[int, ...],
    correlated: tuple[bool, ...],
    equal: bool = False,
) -> Design:
    """A random data set: columns of Z and X are noise around 1, rows in random order.

    Parameters
    ----------
    seed : int
    rows : tuple of int
        Rows of each level.
    p : int
        Columns of X, the first constant.
    blocks : tuple of int
        Effects of each block, the first column of the first block constant.
    correlated : tuple of bool
    equal : bool
        Give every level the same effect columns (levels must have equally many rows).
    """
    rng = np.random.default_rng(seed)
    n, q = sum(rows), sum(blocks)
    codes = np.repeat(np.arange(len(rows)), rows)
    X = 0.5 + rng.standard_normal((n, p))
    X[:, 0] = 1.0
    Z = (
        np.tile(0.3 + rng.standard_normal((rows[0], q)), (len(rows), 1))
        if equal
        else 0.3 + rng.standard_normal((n, q))
    )
    Z[:, 0] = 1.0
    effects = rng.standard_normal((len(rows), q))
    y = X @ np.arange(1.0, p + 1) + (Z * effects[codes]).sum(axis=1) + rng.standard_normal(n)
    # equal designs compress only if every level adds its rows in one order
    order = np.argsort(np.tile(np.arange(rows[0]), len(rows)), kind="stable") if equal else rng.permutation(n)
    y, X, codes, Z = y[order], X[order], codes[order], Z[order]
    return make_design(y, X, codes, np.split(Z, np.cumsum(blocks)[:-1], axis=1), list(correlated))


CASES = {
    "intercept, unbalanced": random_design(1, UNBALANCED, 1, (1,), (True,)),
    "intercept, four predictors": random_design(2, UNBALANCED, 4, (1,), (True,)),
    "slope, unbalanced": random_design(3, UNBALANCED, 2, (2,), (True,)),
    "slope, one huge level": random_design(4, ONE_HUGE, 3, (2,), (True,)),
    "slope, uncorrelated": random_design(5, UNBALANCED, 2, (2,), (False,)),
    "three effects": random_design(6, UNBALANCED, 3, (3,), (True,)),
    "three effects, uncorrelated": random_design(7, ONE_HUGE, 2, (3,), (False,)),
    "two blocks": random_design(8, UNBALANCED, 2, (2, 1), (True, False)),
    "one effect and a pair": random_design(9, UNBALANCED, 4, (1, 2), (False, True)),
    "balanced intercept": random_design(10, BALANCED, 2, (1,), (True,), equal=True),
    "balanced slope": random_design(11, BALANCED, 2, (2,), (True,), equal=True),
    "balanced three effects": random_design(12, BALANCED, 1, (3,), (True,), equal=True),
    "intercepts of two sizes": random_design(13, (3,) * 9 + (5,) * 7 + (1, 2), 2, (1,), (True,)),
    "more levels than a chunk": random_design(14, (2, 1, 3) * 50, 2, (2,), (True,)),
}
"""Designs by what is special about them; the last has more levels than the kernel works on together."""
