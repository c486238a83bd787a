r"""A slow, dense oracle, written from the definition of the model and from nothing else.

y = o + X β + Σ_f Z_f b_f + ε: offset o; for each grouping factor f, independent b_fj ~ N(0, Σ_f) for every level j;
ε ~ N(0, σ² D R(ρ) D) with D = diag(w)^{-1/2} for precision weights w and a correlation matrix R. So

    y - o ~ N(X β, V),     V = Σ_f Z_f (I ⊗ Σ_f) Z_fᵀ + σ² D R D

with dense Z_f of n x q_f J_f. A coefficient with a Normal prior N(m, s²) adds ``x m`` to the mean and ``s² x xᵀ`` to
the covariance; flat coefficients are integrated by the textbook's restricted likelihood. No formula here is
shared with the package: no Woodbury identity, no determinant lemma, no sufficient statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from hierbayes.design import Block, Design, Factor, Term
from hierbayes.moments import Moments
from hierbayes.priors import Prior, Priors
from hierbayes.residual import Residual


@dataclass(frozen=True)
class Dense:
    """One data set, in dense matrices.

    Parameters
    ----------
    y : (n,) array
        Less the offset.
    X : (n, p) array
    Z : (n, effects of all levels) array
        Factor by factor, and level by level: column ``j * q + i`` of a factor is effect i of level j.
    effects : list of slice
        For each factor, its effects among the q effects of the design.
    J : list of int
        Number of levels of each factor.
    deviation : (n,) array
        Residual standard deviation of each row over σ.
    residual : Residual or None
    """

    y: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    effects: list[slice]
    J: list[int]
    deviation: np.ndarray
    residual: Residual | None

    def slots(self, factor: int) -> np.ndarray:
        """Columns of Z that belong to one factor, (levels, effects)."""
        sizes = [(w.stop - w.start) * J for w, J in zip(self.effects, self.J, strict=True)]
        begin = sum(sizes[:factor])
        return np.arange(begin, begin + sizes[factor]).reshape(self.J[factor], -1)


def dense(design: Design) -> Dense:
    """Write out the matrix of rows x effects, entry by entry."""
    names = list(dict.fromkeys(block.factor.name for block in design.blocks))
    parts, effects, levels, at = [np.zeros((design.n, 0))], [], [], 0
    for name in names:
        blocks = [block for block in design.blocks if block.factor.name == name]
        columns = np.concatenate([block.Z for block in blocks], axis=1)
        q, J = columns.shape[1], len(blocks[0].factor.levels)
        Z = np.zeros((design.n, q * J))
        for row, level in enumerate(blocks[0].factor.codes):
            Z[row, level * q : (level + 1) * q] = columns[row]
        parts.append(Z)
        effects.append(slice(at, at + q))
        levels.append(J)
        at += q
    offset = 0.0 if design.offset is None else design.offset
    deviation = np.ones(design.n) if design.weights is None else design.weights**-0.5
    Z = np.concatenate(parts, axis=1)
    return Dense(design.y - offset, design.X, Z, effects, levels, deviation, design.residual)


def prior_covariance(data: Dense, Sigma: np.ndarray) -> np.ndarray:
    """Covariance of the effects of all levels of all factors."""
    blocks = [np.kron(np.eye(J), Sigma[where, where]) for J, where in zip(data.J, data.effects, strict=True)]
    return block_diag(np.zeros((0, 0)), *blocks)


def residual_correlation(residual: Residual | None, n: int, rho: float) -> np.ndarray:
    """R: within a series ρ^|t - s| for AR(1) and ρ for compound symmetry, 0 between series."""
    if residual is None:
        return np.eye(n)
    same = residual.codes[:, None] == residual.codes[None, :]
    steps = np.abs(residual.time[:, None] - residual.time[None, :])
    power = steps if residual.kind == "ar1" else 1 - np.eye(n, dtype=int)
    return np.where(same, float(rho) ** power, 0.0)


def residual_range(residual: Residual) -> tuple[float, float]:
    """Values of ρ for which R is positive definite: with s equal correlations its last eigenvalue is 1 + (s-1)ρ."""
    return (-1.0, 1.0) if residual.kind == "ar1" else (-1.0 / (np.bincount(residual.codes).max() - 1.0), 1.0)


def response_covariance(data: Dense, Sigma: np.ndarray, sigma: float, rho: float = 0.0) -> np.ndarray:
    """V = Σ_f Z_f (I ⊗ Σ_f) Z_fᵀ + σ² D R D."""
    noise = residual_correlation(data.residual, len(data.y), rho) * np.outer(data.deviation, data.deviation)
    return data.Z @ prior_covariance(data, Sigma) @ data.Z.T + sigma**2 * noise


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
    rho: float = 0.0,
) -> float:
    """Log density of y given Σ, σ, ρ and the kept coefficients, all other coefficients integrated out.

    Parameters
    ----------
    data : Dense
    Sigma, sigma, rho
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
    V = response_covariance(data, Sigma, sigma, rho) + (X[:, normal] * sd[normal] ** 2) @ X[:, normal].T
    rest = data.y - X[:, kept] @ values - X[:, normal] @ mean[normal]
    return log_integrated(rest, X[:, flat], V) if flat.any() else log_normal(rest, np.zeros(len(rest)), V)


def raw_moments(design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, count, M and G of one grouping factor by their definition, in the user's units."""
    data = dense(design)
    XY = np.column_stack([data.X, data.y])
    blocks = [data.Z[:, columns] for columns in data.slots(0)]
    A = np.stack([Z.T @ Z for Z in blocks], axis=-1)
    M = np.stack([Z.T @ XY for Z in blocks], axis=-1)
    return A, np.ones(len(blocks)), M, XY.T @ XY


def standardised(design: Design, moments: Moments) -> tuple[Dense, np.ndarray, np.ndarray]:
    """Dense matrices in the coordinates of the moments: effects of all levels, and [X y]; independent residuals."""
    data = dense(design)
    root = 1.0 / data.deviation[:, None]
    E = block_diag(
        np.zeros((0, 0)),
        *(np.kron(np.eye(J), moments.E[where, where]) for J, where in zip(data.J, data.effects, strict=True)),
    )
    residual = (data.y - data.X @ moments.ols) / moments.scale
    XY = np.column_stack([data.X @ np.linalg.inv(moments.R), residual]) * root
    # R is of the weighted columns already
    return data, root * data.Z @ np.linalg.inv(E), XY


def random_factor(seed: int, q: int) -> np.ndarray:
    """A lower triangular matrix of noise."""
    return np.tril(np.random.default_rng(seed).standard_normal((q, q)))


def centred(X: np.ndarray) -> np.ndarray:
    """X with every column but the constant first one at its deviations from its mean."""
    moved = X - X.mean(axis=0)
    moved[:, 0] = 1.0
    return moved


def conditional_effects(
    data: Dense, Sigma: np.ndarray, sigma: float, beta: np.ndarray, rho: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of b given y and β, from the joint Gaussian of b and y.

    Returns
    -------
    mean : (effects,) array
        In the order of the columns of Z. With β at its GLS estimate the BLUPs.
    covariance : (effects, effects) array
    """
    prior = prior_covariance(data, Sigma)
    V = response_covariance(data, Sigma, sigma, rho)
    gain = np.linalg.solve(V, data.Z @ prior).T
    return gain @ (data.y - data.X @ beta), prior - gain @ data.Z @ prior


def joint_conditional(
    data: Dense,
    Sigma: np.ndarray,
    sigma: float,
    prior_mean: np.ndarray,
    prior_precision: np.ndarray,
    rho: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (β, b) given y, θ and a Gaussian prior of β (precision 0 for flat directions).

    β comes first; b given β follows by the law of total covariance, so that Σ may be singular.
    """
    V = response_covariance(data, Sigma, sigma, rho)
    information = prior_precision + data.X.T @ np.linalg.solve(V, data.X)
    beta_cov = np.linalg.inv(information)
    beta = beta_cov @ (prior_precision @ prior_mean + data.X.T @ np.linalg.solve(V, data.y))
    effects, effects_cov = conditional_effects(data, Sigma, sigma, beta, rho)
    slope = -np.linalg.solve(V, data.Z @ prior_covariance(data, Sigma)).T @ data.X
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


# --- θ of the marginal likelihood ---------------------------------------------------------------


def some_theta(design: Design, seed: int = 0, kept: Sequence[float] = ()) -> np.ndarray:
    """A value of θ: standard deviations, partial correlations, σ unless known, r if any, kept coefficients."""
    rng = np.random.default_rng(seed)
    layout = design.layout
    sd, partial = rng.uniform(0.3, 2.0, layout.q), rng.uniform(-0.8, 0.8, layout.n_partial)
    sigma = rng.uniform(0.5, 1.5, 1)
    r = rng.uniform(-0.9, 0.9, 1)
    return np.concatenate(
        [sd, partial, sigma if design.sigma is None else [], r if design.residual is not None else [], kept]
    )


def covariance_at(design: Design, theta: np.ndarray) -> np.ndarray:
    """Σ of the definition, block by block."""
    layout = design.layout
    Sigma = np.zeros((layout.q, layout.q))
    at = layout.q
    for where, free in zip(layout.slices, layout.correlated, strict=True):
        size = where.stop - where.start
        corr = np.eye(size)
        if free:
            corr = correlation_from_partials(theta[at : at + size * (size - 1) // 2], size)
            at += size * (size - 1) // 2
        Sigma[where, where] = covariance_of(theta[where], corr)
    return Sigma


def sigma_at(design: Design, theta: np.ndarray) -> float:
    """σ, given or known."""
    return design.sigma if design.sigma is not None else theta[design.layout.q + design.layout.n_partial]


def rho_at(design: Design, theta: np.ndarray) -> float:
    """ρ: r = -1 and r = 1 are the ends of its range."""
    if design.residual is None:
        return 0.0
    low, high = residual_range(design.residual)
    r = theta[design.layout.q + design.layout.n_partial + (design.sigma is None)]
    return 0.5 * (low * (1.0 - r) + high * (1.0 + r))


def normal(mu: float, sigma: float) -> Prior:
    """A Normal prior."""
    return Prior("Normal", {"mu": mu, "sigma": sigma})


FLAT = Prior("Flat", {})
STUDENT = Prior("StudentT", {"nu": 4.0, "mu": 0.0, "sigma": 2.0})
"""A prior that keeps its coefficient in θ."""


def priors_of(design: Design, coefficients: Sequence[Prior], centered: bool) -> Priors:
    """A prior table with given priors of the coefficients."""
    half = Prior("HalfNormal", {"sigma": 1.0})
    layout = design.layout
    rho = None if design.residual is None else 1.0
    sigma = half if design.sigma is None else None
    return Priors(tuple(coefficients), centered, (half,) * layout.q, sigma, (1.0,) * len(layout.sizes), rho)


def prior_arrays(coefficients: Sequence[Prior]) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations; infinite ones for what is not Normal."""
    mean = np.array([prior.args.get("mu", 0.0) for prior in coefficients])
    sd = np.array([prior.args["sigma"] if prior.name == "Normal" else np.inf for prior in coefficients])
    return mean, sd


def expected_density(design: Design, theta: np.ndarray, priors: Priors | None, X: np.ndarray | None = None) -> float:
    """What `Marginal.log_density` must give at θ."""
    data = dense(design)
    kept = np.zeros(data.X.shape[1], dtype=bool)
    mean, sd = np.zeros(len(kept)), np.full(len(kept), np.inf)
    if priors is not None:
        kept = np.array([prior.name not in ("Normal", "Flat") for prior in priors.coefficients], dtype=bool)
        mean, sd = prior_arrays(priors.coefficients)
        X = centred(data.X) if priors.centered else None
    values = theta[len(theta) - kept.sum() :]
    return log_density(
        data, covariance_at(design, theta), sigma_at(design, theta), kept, values, mean, sd, X, rho_at(design, theta)
    )


def oracle_loglik(data: Design | Dense, Sigma: np.ndarray, sigma: float, method: str, rho: float = 0.0) -> float:
    """Log likelihood, the fixed effects integrated (REML) or at their best (ML)."""
    data = dense(data) if isinstance(data, Design) else data
    V = response_covariance(data, Sigma, sigma, rho)
    if method == "REML":
        return log_integrated(data.y, data.X, V)
    return log_normal(data.y, data.X @ gls(data.y, data.X, V)[0], V)


def profiled(design: Design, method: str) -> tuple[Callable[[np.ndarray], float], int]:
    """-2 log likelihood as a function of the free entries of a relative factor alone, and how many there are.

    σ and the fixed effects are at their best (REML: fixed effects integrated), by generalised least squares in the
    metric of V₀ = V/σ².
    """
    data = dense(design)
    n, p = data.X.shape
    rows, columns = np.nonzero(design.layout.mask)
    dof = n - p if method == "REML" else n
    XY = np.column_stack([data.X, data.y])

    def deviance(x: np.ndarray) -> float:
        L = np.zeros((design.layout.q,) * 2)
        L[rows, columns] = x
        half = np.linalg.cholesky(response_covariance(data, L @ L.T, 1.0))
        R = np.linalg.qr(np.linalg.solve(half, XY), mode="r")
        squares = R[p, p] ** 2
        value = 2.0 * np.log(np.diag(half)).sum() + dof * (1.0 + np.log(2.0 * np.pi * squares / dof))
        if method == "REML":
            value += 2.0 * np.log(np.abs(np.diag(R)[:p])).sum()
        return float(value)

    return deviance, len(rows)


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
    """A `Design` with one grouping factor from bare arrays."""
    return design_of(y, X, [("g", codes, columns, free) for columns, free in zip(Z, correlated, strict=True)])


def design_of(
    y: np.ndarray, X: np.ndarray, blocks: list[tuple[str, np.ndarray, np.ndarray, bool]], **more: Any
) -> Design:
    """A `Design` from bare arrays; the first column of X is called Intercept if it is constant.

    Parameters
    ----------
    y, X
    blocks : list of (factor, codes, Z, correlated)
        Blocks of one factor stand together.
    **more
        Weights, offset, and so on.
    """
    names = [f"x{k}" for k in range(X.shape[1])]
    if X.shape[1] and np.all(X[:, 0] == 1.0):
        names[0] = "Intercept"
    factors: dict[str, Factor] = {}
    made, count = [], 0
    for name, codes, columns, free in blocks:
        levels = np.array([f"level {j}" for j in range(codes.max() + 1)], dtype=object)
        factor = factors.setdefault(name, Factor(name, codes, levels))
        terms = tuple(Term(f"z{count + k}", (f"z{count + k}",)) for k in range(columns.shape[1]))
        count += columns.shape[1]
        made.append(Block(factor, terms, columns, free))
    return Design("y ~ ...", "y", y, X, tuple(Term(name, (name,)) for name in names), tuple(made), **more)


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


# --- designs with several factors, weights, offsets, known σ, correlated residuals ----------------


def dense_codes(codes: np.ndarray) -> np.ndarray:
    """Codes without gaps."""
    return np.unique(codes, return_inverse=True)[1].ravel()


def groups(seed: int, n: int, *sizes: int, nested: int = 0) -> list[np.ndarray]:
    """Codes of several factors at random, every level with a row.

    Parameters
    ----------
    seed : int
    n : int
        Rows.
    *sizes : int
        Levels of each factor; of a nested one, levels within each level of the factor before it.
    nested : int
        How many factors after the first are nested, each in the one before it; the others are crossed.
    """
    rng = np.random.default_rng(seed)
    made = []
    for k, size in enumerate(sizes):
        codes = rng.permutation(np.arange(n) % size)
        made.append(dense_codes(made[-1] * size + codes) if 0 < k <= nested else codes)
    return made


def random_model(
    seed: int,
    codes: dict[str, np.ndarray],
    blocks: list[tuple[str, int, bool]],
    p: int = 2,
    weighted: bool = False,
    offset: bool = False,
    known: bool = False,
    residual: Residual | None = None,
    intercepts: bool = True,
) -> Design:
    """A random data set for given groups.

    Parameters
    ----------
    seed : int
    codes : dict of str to array
    blocks : list of (factor, effects, correlated)
        The first block of a factor begins with a constant column, if `intercepts`.
    p : int
        Columns of X, the first constant.
    weighted, offset, known : bool
        Random weights, a random offset, and σ = 1 known.
    residual : Residual, optional
    intercepts : bool
    """
    rng = np.random.default_rng(seed)
    n = len(residual.codes) if residual is not None else len(next(iter(codes.values())))
    X = 0.5 + rng.standard_normal((n, p))
    X[:, :1] = 1.0
    y = X @ np.arange(1.0, p + 1) + rng.standard_normal(n)
    made: list[tuple[str, np.ndarray, np.ndarray, bool]] = []
    for name, width, free in blocks:
        Z = 0.3 + rng.standard_normal((n, width))
        if intercepts and name not in [other for other, *_ in made]:
            Z[:, 0] = 1.0
        effects = rng.standard_normal((codes[name].max() + 1, width))
        y += (Z * effects[codes[name]]).sum(axis=1)
        made.append((name, codes[name], Z, free))
    more: dict[str, Any] = {"residual": residual}
    if weighted:
        more["weights"] = rng.uniform(0.2, 5.0, n)
    if offset:
        more["offset"] = 10.0 * rng.standard_normal(n)
        y += more["offset"]
    if known:
        more["sigma"] = 1.0
    return design_of(y, X, made, **more)


def ar1(codes: np.ndarray, seed: int | None = None) -> Residual:
    """AR(1) in the order of the rows; with a seed, at random times with gaps, rows in any order."""
    time = np.zeros(len(codes), dtype=np.int64)
    rng = np.random.default_rng(seed)
    for series in range(codes.max() + 1):
        mine = np.flatnonzero(codes == series)
        time[mine] = np.arange(len(mine)) if seed is None else rng.permutation(3 * len(mine))[: len(mine)]
    return Residual("ar1", "ar1(t | s)", "s", codes, time)


def cs(codes: np.ndarray) -> Residual:
    """Compound symmetry."""
    return Residual("cs", "cs(s)", "s", codes, np.zeros(len(codes), dtype=np.int64))


def named(names: str, codes: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Codes by the letters of `names`."""
    return dict(zip(names, codes, strict=True))


_CROSSED = named("ab", groups(1, 50, 9, 4))
_SPARSE = named("ab", groups(2, 45, 30, 20))
_THREE = named("abc", groups(3, 70, 8, 5, 3))
_NESTED = named("ab", groups(4, 60, 5, 3, nested=1))
_CHAIN = named("abc", groups(5, 70, 3, 3, 3, nested=2))
_NESTED_CROSSED = named("abc", groups(6, 60, 4, 3, 5, nested=1))
_CHAIN_CROSSED = named("abcde", groups(7, 90, 3, 2, 3, 4, 3, nested=2))
_SINGLE = named("ab", [np.r_[np.arange(30), np.arange(10)], np.arange(40) % 6])
_HUGE = named("ab", [np.r_[np.zeros(60, dtype=np.int64), 1, 2, 2, 3, 3, 3], np.arange(66) % 5])
_SAME = named("ab", [_CROSSED["a"], np.array([3, 1, 0, 2, 4, 8, 5, 7, 6])[_CROSSED["a"]]])
_MANY = named("ab", groups(8, 400, 150, 7))
_SERIES = dense_codes(_CROSSED["a"] * 4 + _CROSSED["b"])
_PERSON = named("ab", groups(9, 60, 6, 2, nested=1))


MANY = {
    "two crossed": random_model(21, _CROSSED, [("a", 1, True), ("b", 1, True)]),
    "two crossed, smaller first": random_model(
        22, named("ba", [*_CROSSED.values()][::-1]), [("b", 1, True), ("a", 1, True)]
    ),
    "two crossed, few cells": random_model(23, _SPARSE, [("a", 1, True), ("b", 1, True)], p=3),
    "two crossed, slopes": random_model(24, _CROSSED, [("a", 2, True), ("b", 3, True)]),
    "two crossed, uncorrelated slopes": random_model(25, _CROSSED, [("a", 3, False), ("b", 2, False)]),
    "two crossed, several blocks": random_model(
        26, _CROSSED, [("a", 1, True), ("a", 2, True), ("b", 2, True), ("b", 1, True)]
    ),
    "two crossed, no predictor": random_model(27, _CROSSED, [("a", 1, True), ("b", 2, True)], p=1),
    "two crossed, four predictors": random_model(28, _CROSSED, [("a", 2, True), ("b", 1, True)], p=4),
    "two crossed, slopes only": random_model(29, _CROSSED, [("a", 1, True), ("b", 2, True)], intercepts=False),
    "three crossed": random_model(30, _THREE, [("a", 1, True), ("b", 2, True), ("c", 1, True)]),
    "nested pair": random_model(31, _NESTED, [("a", 1, True), ("b", 1, True)]),
    "nested pair, inner first": random_model(32, _NESTED, [("b", 2, True), ("a", 3, True)]),
    "nested pair, several blocks": random_model(
        33, _NESTED, [("a", 2, True), ("a", 1, True), ("b", 1, True), ("b", 1, True)]
    ),
    "chain of three": random_model(34, _CHAIN, [("a", 1, True), ("b", 1, True), ("c", 1, True)]),
    "chain of three, slopes": random_model(35, _CHAIN, [("a", 3, True), ("b", 1, True), ("c", 2, True)]),
    "chain in any order": random_model(36, _CHAIN, [("b", 2, False), ("c", 1, True), ("a", 2, True)]),
    "nested within crossed": random_model(37, _NESTED_CROSSED, [("a", 1, True), ("b", 1, True), ("c", 1, True)]),
    "nested within crossed, slopes": random_model(
        38, _NESTED_CROSSED, [("a", 2, True), ("c", 3, True), ("b", 2, True)]
    ),
    "chain and two crossed": random_model(39, _CHAIN_CROSSED, [(name, 1, True) for name in "abcde"]),
    "chain and two crossed, slopes": random_model(
        40, _CHAIN_CROSSED, [("a", 2, True), ("b", 1, True), ("c", 2, False), ("d", 2, True), ("e", 1, True)]
    ),
    "single-row levels": random_model(41, _SINGLE, [("a", 1, True), ("b", 2, True)]),
    "a huge level": random_model(42, _HUGE, [("a", 2, True), ("b", 1, True)]),
    "the same groups twice": random_model(43, _SAME, [("a", 1, True), ("b", 1, True)], intercepts=False),
    "many levels": random_model(44, _MANY, [("a", 2, True), ("b", 1, True)]),
    "weights": random_model(51, {"a": _CROSSED["a"]}, [("a", 2, True)], weighted=True),
    "offset": random_model(52, {"a": _CROSSED["a"]}, [("a", 2, True)], offset=True),
    "known σ": random_model(53, {"a": _CROSSED["a"]}, [("a", 2, True)], weighted=True, known=True),
    "known σ, a level a row": random_model(54, {"a": np.arange(40)}, [("a", 1, True)], weighted=True, known=True),
    "crossed, weights and offset": random_model(
        55, _CROSSED, [("a", 2, True), ("b", 1, True)], weighted=True, offset=True
    ),
    "crossed, known σ": random_model(56, _CROSSED, [("a", 1, True), ("b", 2, True)], weighted=True, known=True),
    "chain, weights": random_model(57, _CHAIN, [("a", 1, True), ("b", 2, True), ("c", 1, True)], weighted=True),
    "AR(1) alone": random_model(61, {}, [], residual=ar1(_PERSON["a"])),
    "AR(1) alone, gaps, weights": random_model(62, {}, [], residual=ar1(_PERSON["a"], 1), weighted=True, offset=True),
    "AR(1) and intercepts": random_model(63, _PERSON, [("a", 1, True)], residual=ar1(_PERSON["a"])),
    "AR(1) with gaps and slopes": random_model(64, _PERSON, [("a", 2, True)], p=3, residual=ar1(_PERSON["a"], 2)),
    "AR(1) within the levels": random_model(65, _PERSON, [("a", 2, True)], residual=ar1(_PERSON["b"], 3)),
    "AR(1) and a nested pair": random_model(
        66, _PERSON, [("a", 1, True), ("b", 2, True)], residual=ar1(_PERSON["b"], 4)
    ),
    "AR(1) within the cells of two crossed": random_model(
        67, _CROSSED, [("a", 2, True), ("b", 1, True)], residual=ar1(_SERIES, 5), weighted=True
    ),
    "AR(1) and known σ": random_model(
        68, _PERSON, [("a", 1, True)], residual=ar1(_PERSON["a"], 6), weighted=True, known=True
    ),
    "compound symmetry alone": random_model(71, {}, [], residual=cs(_PERSON["a"])),
    "compound symmetry, unequal series": random_model(
        72, {}, [], p=3, residual=cs(dense_codes(_SERIES // 3)), weighted=True
    ),
    "compound symmetry and slopes": random_model(73, _PERSON, [("a", 2, True)], residual=cs(_PERSON["b"])),
    "compound symmetry in two crossed": random_model(
        74, _CROSSED, [("a", 1, True), ("b", 2, True)], residual=cs(_SERIES)
    ),
}
"""Designs with several factors, weights, offsets, known σ and correlated residuals, by what is special about them."""

ALL = CASES | MANY
