r"""The likelihood of one parameter vector and one packed design, in compiled code.

This is where the kernels meet: standard deviations and correlations become Λ (`hierbayes.covariance`), the
cross-products are combined at ρ (`hierbayes.residual`), the random effects are eliminated
(`hierbayes.kernel_levels` or `hierbayes.kernel_tree`), the fixed effects integrated or profiled
(`hierbayes.kernel_fixed`), and the gradient runs back the same way.

`hierbayes.marginal.Marginal` packs everything into one vector of numbers, a vector of integers for several
grouping factors (`tree`, else None), and a vector that describes the residual correlation (`residual`, else
None). Code for what is None is never compiled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hierbayes import kernel_fixed, kernel_levels, kernel_tree
from hierbayes.covariance import factor, factor_adjoint
from hierbayes.residual import coefficients

HEADER = 13
"""Length of the header of the packed vector."""


@njit(cache=True, nogil=True, error_model="numpy")
def unpack(packed: np.ndarray) -> tuple:
    """Views of the arrays in the packed vector."""
    q, lanes, p, pi, pk, blocks, sets, size = (
        int(packed[0]),
        int(packed[1]),
        int(packed[2]),
        int(packed[3]),
        int(packed[4]),
        int(packed[5]),
        int(packed[6]),
        int(packed[7]),
    )
    at = HEADER
    sizes = np.empty(blocks, dtype=np.int64)
    correlated = np.empty(blocks, dtype=np.int64)
    for block in range(blocks):
        sizes[block] = int(packed[at + block])
        correlated[block] = int(packed[at + blocks + block])
    at += 2 * blocks
    count = packed[at : at + lanes]
    at += lanes
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
    at += pk
    data = packed[at : at + sets * size].reshape((sets, size))
    return sizes, correlated, count, E, Di, precision, mean, Dk, origin, data


@njit(cache=True, nogil=True, error_model="numpy")
def split(data: np.ndarray, q: int, m: int, lanes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, M and G of one grouping factor."""
    A = data[: q * q * lanes].reshape((q, q, lanes))
    at = q * q * lanes
    M = data[at : at + q * m * lanes].reshape((q, m, lanes))
    at += q * m * lanes
    return A, M, data[at : at + m * m].reshape((m, m))


@njit(cache=True, nogil=True, error_model="numpy")
def combine(data: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_k weights_k data_k."""
    total = np.zeros(data.shape[1])
    for k in range(data.shape[0]):
        for i in range(data.shape[1]):
            total[i] += weights[k] * data[k, i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def relative_factor(
    theta: np.ndarray, q: int, partials: int, sigma: float, sizes: np.ndarray, correlated: np.ndarray, E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Λ = E L / σ in the coordinates of the moments, and L."""
    L = factor(theta[:q], theta[q : q + partials], sizes, correlated)
    relative = np.zeros((q, q))
    for i in range(q):
        for j in range(q):
            for k in range(i, q):
                relative[i, j] += E[i, k] * L[k, j] / sigma
    return relative, L


@njit(cache=True, nogil=True, error_model="numpy")
def at_rho(data: np.ndarray, rho: float, residual: Any) -> tuple:
    """The cross-products at ρ, their derivative, log|R| and its derivative."""
    if residual is None:
        return data[0], data[0], 0.0, 0.0
    c, slope, logdet, logdet_slope = coefficients(rho, residual)
    return combine(data, c), combine(data, slope), logdet, logdet_slope


@njit(cache=True, nogil=True, error_model="numpy")
def eliminate(data: np.ndarray, count: np.ndarray, m: int, relative: np.ndarray, tree: Any) -> tuple:
    """K, log|V₀|, and what the kernel wants to see again in `sweep`."""
    if tree is None:
        A, M, G = split(data, relative.shape[0], m, count.size)
        K, logdet = kernel_levels.absorb(A, count, M, G, relative)
        return K, logdet, None
    panels, core, white, K, logdet = kernel_tree.factorise(data, tree, relative)
    return K, logdet, (panels, core, white)


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(
    data: np.ndarray,
    count: np.ndarray,
    relative: np.ndarray,
    tree: Any,
    store: Any,
    K_bar: np.ndarray,
    logdet_bar: float,
    data_bar: np.ndarray,
) -> np.ndarray:
    """Derivative with respect to Λ; those with respect to the data are written to `data_bar` unless it is empty."""
    if tree is None:
        m = K_bar.shape[0]
        A, M, _ = split(data, relative.shape[0], m, count.size)
        if data_bar.size == 0:
            none = np.empty((0, 0, 0))
            return kernel_levels.absorb_adjoint(A, count, M, relative, K_bar, logdet_bar, none, none)
        A_bar, M_bar, G_bar = split(data_bar, relative.shape[0], m, count.size)
        for a in range(m):
            for b in range(m):
                G_bar[a, b] = K_bar[a, b]
        return kernel_levels.absorb_adjoint(A, count, M, relative, K_bar, logdet_bar, A_bar, M_bar)
    panels, core, white = store
    return kernel_tree.adjoint(data, tree, relative, panels, core, white, K_bar, logdet_bar, data_bar)


@njit(cache=True, nogil=True, error_model="numpy")
def along(data_bar: np.ndarray, slope: np.ndarray) -> float:
    """Directional derivative along the data's own derivative."""
    total = 0.0
    for i in range(data_bar.size):
        total += data_bar[i] * slope[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def log_density(theta: np.ndarray, packed: np.ndarray, tree: Any, residual: Any) -> tuple[float, np.ndarray]:
    """Log marginal density of the response and its gradient.

    Parameters
    ----------
    theta : (d,) array
        Standard deviations (q), partial correlations, σ unless known, r of the residual correlation
        if there is one, kept fixed effects, in the user's units.
    packed : array
        `Marginal.packed`.
    tree : int array or None
    residual : array or None
        `Marginal.plan`.

    Returns
    -------
    value : float
    gradient : (d,) array
    """
    sizes, correlated, count, E, Di, precision, mean, Dk, origin, data = unpack(packed)
    partials, n, scale, known = int(packed[8]), packed[9], packed[10], packed[11]
    q = E.shape[0]
    at = q + partials
    free = 0 if known > 0.0 else 1
    sigma = theta[at] if free == 1 else known
    rho, span = 0.0, 0.0
    own = at + free
    if residual is not None:
        span = 0.5 * (residual[1] - residual[0])
        rho = residual[0] + span * (theta[own] + 1.0)
        own += 1
    now, slope, residual_logdet, residual_slope = at_rho(data, rho, None if residual is None else residual[2:])
    relative, _ = relative_factor(theta, q, partials, sigma, sizes, correlated, E)
    K, logdet, store = eliminate(now, count, Di.shape[0] + 1, relative, tree)
    value, K_bar, sigma_bar, kept_bar = kernel_fixed.density(
        K, logdet + residual_logdet, n, sigma / scale, Di, precision, mean, Dk, theta[own:] - origin
    )
    gradient = np.zeros(theta.size)
    if not math.isfinite(value):
        return -math.inf, gradient
    data_bar = np.empty(0)
    if residual is not None:
        data_bar = np.zeros(now.size)
    relative_bar = sweep(now, count, relative, tree, store, K_bar, -0.5, data_bar)
    L_bar = np.zeros((q, q))
    shift = 0.0
    for i in range(q):
        for j in range(q):
            shift += relative_bar[i, j] * relative[i, j]
            for k in range(i + 1):
                L_bar[i, j] += E[k, i] * relative_bar[k, j] / sigma
    sd_bar, partial_bar = factor_adjoint(theta[:q], theta[q:at], sizes, correlated, L_bar)
    for i in range(q):
        gradient[i] = sd_bar[i]
    for i in range(partials):
        gradient[q + i] = partial_bar[i]
    if free == 1:
        gradient[at] = sigma_bar / scale - shift / sigma
    if residual is not None:
        gradient[own - 1] = span * (along(data_bar, slope) - 0.5 * residual_slope)
    for i in range(kept_bar.size):
        gradient[own + i] = kept_bar[i]
    return value - n * math.log(scale) + packed[12], gradient


@njit(cache=True, nogil=True, error_model="numpy")
def deviance(
    x: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    restricted: bool,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
) -> tuple[float, np.ndarray, float, np.ndarray, np.ndarray]:
    """-2 log (restricted) likelihood of the free entries of Λ and of r, all else profiled out.

    Parameters
    ----------
    x : (d,) array
        Entries of Λ at `rows`, `columns`, and last artanh r if the residuals are correlated.
    rows, columns : int arrays
    restricted : bool
    packed, tree, residual
        As in `log_density`; the priors of the fixed effects play no part.

    Returns
    -------
    value : float
        In the coordinates of the moments.
    gradient : (d,) array
    sigma, t, chol
        As in `hierbayes.kernel_fixed.profile`.
    """
    _, _, count, E, Di, _, _, _, _, data = unpack(packed)
    n, scale, known = packed[9], packed[10], packed[11]
    q = E.shape[0]
    m = Di.shape[0] + 1
    relative = np.zeros((q, q))
    for k in range(rows.size):
        relative[rows[k], columns[k]] = x[k]
    rho, span = 0.0, 0.0
    if residual is not None:
        span = 0.5 * (residual[1] - residual[0])
        r = math.tanh(x[rows.size])
        rho = residual[0] + span * (r + 1.0)
        span *= 1.0 - r * r
    now, slope, residual_logdet, residual_slope = at_rho(data, rho, None if residual is None else residual[2:])
    K, logdet, store = eliminate(now, count, m, relative, tree)
    value, K_bar, sigma, t, chol = kernel_fixed.profile(K, logdet + residual_logdet, n, known / scale, restricted)
    gradient = np.zeros(x.size)
    if not math.isfinite(value):
        return math.inf, gradient, sigma, t, chol
    data_bar = np.empty(0)
    if residual is not None:
        data_bar = np.zeros(now.size)
    relative_bar = sweep(now, count, relative, tree, store, K_bar, 1.0, data_bar)
    for k in range(rows.size):
        gradient[k] = relative_bar[rows[k], columns[k]]
    if residual is not None:
        gradient[rows.size] = span * (along(data_bar, slope) + residual_slope)
    return value, gradient, sigma, t, chol


@njit(cache=True, nogil=True, error_model="numpy")
def condition(
    thetas: np.ndarray,
    packed: np.ndarray,
    tree: Any,
    residual: Any,
    noise: np.ndarray,
    ts: np.ndarray,
    us: np.ndarray,
    relatives: np.ndarray,
    factors: np.ndarray,
    rests: np.ndarray,
) -> None:
    """For every draw of θ: draw the integrated coefficients and, of several factors, all but the leaves.

    `noise` and `rests` hold standard normal numbers; the latter become effects, in the coordinates of
    the moments.
    """
    sizes, correlated, count, E, Di, precision, mean, Dk, origin, data = unpack(packed)
    partials, scale, known = int(packed[8]), packed[10], packed[11]
    q = E.shape[0]
    p, pi = Di.shape
    at = q + partials
    for s in range(len(thetas)):
        theta = thetas[s]
        sigma = theta[at] if known == 0.0 else known
        own = at if known > 0.0 else at + 1
        rho = 0.0
        if residual is not None:
            rho = residual[0] + 0.5 * (residual[1] - residual[0]) * (theta[own] + 1.0)
            own += 1
        now, _, _, _ = at_rho(data, rho, None if residual is None else residual[2:])
        relative, L = relative_factor(theta, q, partials, sigma, sizes, correlated, E)
        K, _, store = eliminate(now, count, p + 1, relative, tree)
        _, t, u, chol = kernel_fixed.integrate(K, sigma / scale, Di, precision, mean, Dk, theta[own:] - origin)
        for back in range(pi):
            i = pi - 1 - back
            x = noise[s, i]
            for k in range(i + 1, pi):
                x -= chol[k, i] * noise[s, k]
            noise[s, i] = x / chol[i, i]
        for i in range(pi):
            us[s, i] = u[i] + noise[s, i]
            for a in range(p):
                t[a] -= Di[a, i] * noise[s, i]
        for a in range(t.size):
            ts[s, a] = t[a]
        for i in range(q):
            for j in range(q):
                relatives[s, i, j] = relative[i, j]
                factors[s, i, j] = L[i, j]
        if tree is not None:
            panels, core, white = store
            kernel_tree.rest_effects(tree, relative, panels, core, white, t, sigma / scale, rests[s])


@njit(cache=True, nogil=True, error_model="numpy")
def level_effects(
    A: np.ndarray,
    M: np.ndarray,
    residual: Any,
    rhos: np.ndarray,
    ts: np.ndarray,
    relatives: np.ndarray,
    units: np.ndarray,
    sigmas: np.ndarray,
    z: np.ndarray,
) -> None:
    """Turn standard normal noise z, (draws, q, J), into draws of the effects of one factor, in place."""
    K, q, m, J = M.shape
    V = np.empty((q, J))
    now_A = A[0]
    now_M = M[0]
    for s in range(len(z)):
        if residual is not None:
            c, _, _, _ = coefficients(rhos[s], residual[2:])
            now_A = combine(A.reshape((K, q * q * J)), c).reshape((q, q, J))
            now_M = combine(M.reshape((K, q * m * J)), c).reshape((q, m, J))
        for i in range(q):
            for j in range(J):
                V[i, j] = 0.0
            for a in range(m):
                for j in range(J):
                    V[i, j] += now_M[i, a, j] * ts[s, a]
        kernel_levels.effects(now_A, V, relatives[s], units[s], sigmas[s], z[s])


@njit(cache=True, nogil=True, error_model="numpy")
def leaf_effects(
    data: np.ndarray,
    tree: np.ndarray,
    residual: Any,
    rhos: np.ndarray,
    ts: np.ndarray,
    rests: np.ndarray,
    relatives: np.ndarray,
    units: np.ndarray,
    sigmas: np.ndarray,
    begin: int,
    z: np.ndarray,
) -> None:
    """The same for the leaves of several factors, given all other effects."""
    q, J = z.shape[1], z.shape[2]
    A = np.empty((q, q, J))
    V = np.empty((q, J))
    now = data[0]
    for s in range(len(z)):
        if residual is not None:
            c, _, _, _ = coefficients(rhos[s], residual[2:])
            now = combine(data, c)
        kernel_tree.leaves(now, tree, ts[s], rests[s], begin, A, V)
        kernel_levels.effects(A, V, relatives[s], units[s], sigmas[s], z[s])
