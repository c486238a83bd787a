r"""Adaptive Gauss-Hermite quadrature over one random effect per level of one grouping factor, with its gradient.

With û_j the mode of ``h_j(u) = Σ ℓ_i(η_i) - ½u²`` over the rows of level j, ``s_j = W_j^{-½}`` the spread there
(`hierbayes.laplace`) and x_k, ω_k the nodes and weights of the standard normal distribution,

    log p(y_j) ≈ log s_j + log Σ_k ω_k exp(½x_k² + h_j(u_jk)),      u_jk = û_j + s_j x_k

(Liu & Pierce 1994, Biometrika 81, 624-629; Pinheiro & Bates 1995, Journal of Computational and Graphical Statistics
4, 12-35). One node is the Laplace approximation. In the gradient the nodes move with û_j and s_j. With the shares
``π_k ∝ ω_k exp(½x_k² + h_j(u_jk))``, means ``E`` under them and ``c_j = 1 + s_j E[x h'_j]`` it is that of the Laplace
approximation (see there) with

    t_i = ½ c_j ℓ'''_i s_i,      W_j w_j = Λ Σ z_i t_i + E[h'_j],      e_i = E[ℓ'_i] + t_i + ℓ''_i a_i,

``E[∂ℓ_i/∂ψ]`` in place of ``∂ℓ_i/∂ψ``, log|W| times c_j, and ``E[ℓ'_i u]`` in place of ``ℓ'_i û_j``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from hierbayes.kernel_family import derivatives


@njit(cache=True, nogil=True, error_model="numpy")
def _shares(
    kind: int, link: int, y: np.ndarray, size: np.ndarray, fixed: np.ndarray, auxiliary: np.ndarray, z: np.ndarray,
    level_of: np.ndarray, nodes: np.ndarray, log_weights: np.ndarray, u: np.ndarray, W: np.ndarray,
    shares: np.ndarray,
) -> float:  # fmt: skip
    """Write the shares π of the nodes of every level, (levels, nodes); return the approximated log likelihood."""
    levels, K = shares.shape
    for j in range(levels):
        s = 1.0 / math.sqrt(W[j])
        for k in range(K):
            at = u[j] + s * nodes[k]
            shares[j, k] = log_weights[k] + 0.5 * (nodes[k] ** 2 - at**2)
    out = np.empty(4)
    for i in range(fixed.size):
        j = level_of[i]
        s = 1.0 / math.sqrt(W[j])
        for k in range(K):
            eta = fixed[i] + z[i] * (u[j] + s * nodes[k])
            derivatives(kind, link, y[i], size[i], eta, auxiliary, out)
            shares[j, k] += out[0]
    total = 0.0
    for j in range(levels):
        most = -math.inf
        for k in range(K):
            most = max(most, shares[j, k])
        sum_ = 0.0
        for k in range(K):
            shares[j, k] = math.exp(shares[j, k] - most)
            sum_ += shares[j, k]
        for k in range(K):
            shares[j, k] /= sum_
        total += most + math.log(sum_) - 0.5 * math.log(W[j])
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def hermite(
    kind: int, link: int, y: np.ndarray, size: np.ndarray, fixed: np.ndarray, auxiliary: np.ndarray,
    column: np.ndarray, scale: float, level_of: np.ndarray, nodes: np.ndarray, log_weights: np.ndarray, u: np.ndarray,
    rows: np.ndarray,
) -> tuple[float, np.ndarray, float, np.ndarray]:  # fmt: skip
    """Log likelihood by quadrature, up to `hierbayes.kernel_family.constants`, and its derivatives.

    Parameters
    ----------
    kind, link, y, size, auxiliary
        As in `hierbayes.kernel_family.derivatives`.
    fixed : (n,) array
        Linear predictor without random effects.
    column : (n,) array
        Effect column.
    scale : float
        L.
    level_of : (n,) int array
    nodes, log_weights : (K,) arrays
        Of the standard normal distribution.
    u : (levels,) array
        Modes.
    rows : (n, 4 + 3 k) array
        `derivatives` of every row at the modes.

    Returns
    -------
    value : float
        -∞ if a mode is none.
    e : (n,) array
        Derivative by the linear predictor of every row.
    scale_bar : float
        By L.
    auxiliary_bar : (k,) array
    """
    n, levels, K = y.size, u.size, nodes.size
    estimated = (rows.shape[1] - 4) // 3
    e, auxiliary_bar = np.zeros(n), np.zeros(estimated)
    W, z = np.ones(levels), np.empty(n)
    for i in range(n):
        z[i] = scale * column[i]
        W[level_of[i]] -= rows[i, 2] * z[i] ** 2
    for j in range(levels):
        if not W[j] > 0.0:
            return -math.inf, e, 0.0, auxiliary_bar
    shares = np.empty((levels, K))
    value = _shares(kind, link, y, size, fixed, auxiliary, z, level_of, nodes, log_weights, u, W, shares)

    # means under the shares: of ℓ' (to e) and of ∂ℓ/∂ψ for every row; of h' and of 1 + s x h' for every level
    lean, stretch = np.zeros(levels), np.ones(levels)
    for j in range(levels):
        s = 1.0 / math.sqrt(W[j])
        for k in range(K):
            at = u[j] + s * nodes[k]
            lean[j] -= shares[j, k] * at
            stretch[j] -= shares[j, k] * at * s * nodes[k]
    scale_bar = 0.0
    out = np.empty(4 + 3 * estimated)
    for i in range(n):
        j = level_of[i]
        s = 1.0 / math.sqrt(W[j])
        for k in range(K):
            if shares[j, k] == 0.0:  # there may be no such mean
                continue
            at = u[j] + s * nodes[k]
            derivatives(kind, link, y[i], size[i], fixed[i] + z[i] * at, auxiliary, out)
            each = shares[j, k] * out[1]
            e[i] += each
            scale_bar += column[i] * each * at
            lean[j] += z[i] * each
            stretch[j] += z[i] * each * s * nodes[k]
            for a in range(estimated):
                auxiliary_bar[a] += shares[j, k] * out[4 + 3 * a]
    w = lean
    for i in range(n):
        j = level_of[i]
        w[j] += 0.5 * stretch[j] * rows[i, 3] * z[i] ** 3 / W[j]
    for j in range(levels):
        w[j] /= W[j]
    for i in range(n):
        j = level_of[i]
        moved = z[i] * w[j]
        spread = stretch[j] * z[i] ** 2 / W[j]
        turn = 0.5 * rows[i, 3] * spread + rows[i, 2] * moved
        e[i] += turn
        scale_bar += column[i] * (turn * u[j] + rows[i, 1] * w[j] + rows[i, 2] * stretch[j] * z[i] / W[j])
        for a in range(estimated):
            auxiliary_bar[a] += moved * rows[i, 5 + 3 * a] + 0.5 * spread * rows[i, 6 + 3 * a]
    return value, e, scale_bar, auxiliary_bar
